"""One file a revision, `rNNNN_what.py`, each after the one before: never two of one number.

A revision does for both databases what takes the tables of the one before to its own, and keeps
what is in them. On SQLite foreign keys are off meanwhile and checked at the end, so that a table
can be made anew beside itself, filled, dropped and renamed. tests/central/test_migrations.py holds
schema.py against them.
"""
