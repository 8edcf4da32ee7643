"""YAML to a checked config, before torch is imported."""
