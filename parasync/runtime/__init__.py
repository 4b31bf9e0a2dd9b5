"""Drivers: carry out what the protocol decided; decide nothing."""
