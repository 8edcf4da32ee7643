"""Signals, ranks, cores, a start and an end."""
