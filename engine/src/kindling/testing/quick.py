"""What makes many small runs in one process quick."""

import os
from collections.abc import Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kindling.config import once, project
from kindling.config.composition import Composer
from kindling.run_folders import curves

_composed: dict[tuple[str, ...], DictConfig] = {}
# By the choices of files, on which values are set.
_bases: dict[tuple[str, ...], DictConfig] = {}
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
        try:
            _composed[key] = _compose_on_files(self, lines)
        except (HydraException, OmegaConfBaseException):
            # Hydra by itself says what is wrong with all lines.
            _composed[key] = _compose(self, lines)
    return _composed[key].copy()


def _compose_on_files(self: Composer, lines: Sequence[str]) -> DictConfig:
    """Merge the files that several command lines choose once."""
    loader = GlobalHydra.instance().config_loader()
    overrides = OverridesParser.create().parse_overrides(list(lines))
    values, choices = once.parts_of(loader, overrides)  # pyright: ignore[reportArgumentType]
    key = (str(self.folders[0]), self.name, os.getcwd(), *choices)
    if key not in _bases:
        _bases[key] = _compose(self, choices)
    return once.with_values(loader, _bases[key], overrides, values)  # pyright: ignore[reportArgumentType]
