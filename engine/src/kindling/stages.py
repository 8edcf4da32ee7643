"""The stages of a run, each with its split of the data."""

from typing import Literal, get_args

Stage = Literal["train", "val", "test"]
STAGES: tuple[Stage, ...] = get_args(Stage)
