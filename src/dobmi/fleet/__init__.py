"""The whole system in one process on virtual time, and what must hold in it whatever fails."""
