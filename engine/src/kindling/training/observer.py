"""The base of the callbacks that only look at training."""

from lightning.pytorch import Callback


class Observer(Callback):
    """A callback that changes nothing of what is trained, so that a replay of some steps may leave it out."""
