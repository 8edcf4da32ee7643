"""What `callbacks=` offers."""
