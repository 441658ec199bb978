"""A DESFire card: readers, secure messaging, commands, key custody, the Do BMI purse."""
