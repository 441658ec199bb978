"""The point of sale: sale, local ledger, in-doubt resolution, shift, sync state."""
