"""A DESFire card and its readers in software, with faults and radio timing."""
