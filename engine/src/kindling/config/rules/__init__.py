"""Which settings make no sense together."""
