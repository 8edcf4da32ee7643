"""What a run folder tells, who holds it, which run `resume` means."""
