"""A tiny project of a few small models and data sets, which the engine's tests run over."""
