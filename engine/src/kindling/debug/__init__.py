"""What `debug=` offers."""
