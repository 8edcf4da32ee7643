"""CSV and trackers."""
