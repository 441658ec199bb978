"""The auditor: re-verifies the whole ledger from the vouchers up. Shares the rule table, no code."""
