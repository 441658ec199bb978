"""The cashier's page: what a till shows and asks, served to the browser on the same machine.

A thin skin. Every rule is in the other modules of `dobmi.terminal`, and is the same for the
command line.
"""
