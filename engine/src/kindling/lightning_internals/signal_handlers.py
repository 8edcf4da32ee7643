"""Lightning's handlers of signals."""

from lightning.pytorch import Trainer


def keep_own_handlers(trainer: Trainer) -> None:
    """Leave signals to the handlers that are set already.

    Lightning's would answer SIGTERM in the middle of an accumulation, and with a collective in one process alone.
    """
    trainer._signal_connector.register_signal_handlers = register_none


def register_none() -> None:
    """Takes no closure, so that a Trainer can be pickled."""
