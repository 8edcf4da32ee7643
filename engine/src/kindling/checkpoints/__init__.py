"""What a checkpoint holds, when it is taken, how a run is restored."""
