"""How a command starts, is checked and ends."""
