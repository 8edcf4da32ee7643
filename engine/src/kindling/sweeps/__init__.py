"""Many runs as one sweep: which trials, in which processes, and what came of them."""
