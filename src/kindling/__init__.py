"""Kindling: fork it, train, never lose a run."""
