"""Signals that tests send reach the runs, however the tests were started."""

import signal

from kindling.process.signals import ENDING


def heed_signals() -> None:
    """Let runs get the signals that nohup, or a shell that runs this in the background, has it ignore."""
    for signum in ENDING:
        if signal.getsignal(signum) == signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)
