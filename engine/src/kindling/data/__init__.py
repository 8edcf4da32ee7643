"""What data of any kind shares."""
