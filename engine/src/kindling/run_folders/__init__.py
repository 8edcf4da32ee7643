"""What a run folder holds, who works in it, which run `resume` means."""
