"""The private parts of Lightning that the engine uses."""
