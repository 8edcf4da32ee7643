"""What is wrong with a command line, and with the config that it composes."""
