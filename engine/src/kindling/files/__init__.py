"""Files written whole, without secrets."""
