"""A trained net as a file that other programs can compute, and the proof that it is the same net."""
