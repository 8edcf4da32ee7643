"""Fitting, with what can go wrong, and what it is made of."""
