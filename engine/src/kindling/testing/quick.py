"""What makes many small runs in one process quick."""

import os
from collections.abc import Sequence

from omegaconf import DictConfig

from kindling.config import project
from kindling.config.composition import Composer
from kindling.run_folders import curves

_composed: dict[tuple[str, ...], DictConfig] = {}
_compose = Composer.compose
# For a test of it.
draw_curves = curves.draw


def install() -> None:
    """Compose the same command line once, draw no curves, and leave out what guards against a loss of power."""
    Composer.compose = _compose_once
    os.fsync = lambda fd: None
    curves.draw = lambda folder: None


def _compose_once(self: Composer, lines: Sequence[str]) -> DictConfig:
    """Hydra takes a quarter of a second to compose the same groups, and most tests share theirs."""
    if self.folders != (project.current().configs,):
        return _compose(self, lines)
    key = (str(self.folders[0]), self.name, *lines)
    if key not in _composed:
        _composed[key] = _compose(self, lines)
    return _composed[key].copy()
