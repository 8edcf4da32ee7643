"""Which images, what is done of them, and the table that they become."""
