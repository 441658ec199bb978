"""The office's page of the central server, at /office: who is let in, what waits, what was done."""
