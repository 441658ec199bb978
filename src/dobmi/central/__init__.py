"""The central server: ledger, ingest, relayed card sessions, feed."""
