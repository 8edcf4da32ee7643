"""`~key` deletes any key that is there; of one that is null, or refers to a missing one, Hydra says that it is not."""

from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

_apply = ConfigLoaderImpl._apply_overrides_to_config


def install() -> None:
    """Take the place of a method of Hydra's."""
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(_apply_each)


def _apply_each(overrides: Sequence[Override], cfg: DictConfig) -> None:
    for override in overrides:
        above, _, last = override.key_or_group.rpartition(".")
        parent = OmegaConf.select(cfg, above, throw_on_missing=False) if above else cfg
        deletes = override.is_delete() and override.value() is None
        if deletes and isinstance(parent, DictConfig) and last in parent.keys():  # noqa: SIM118  null too
            with open_dict(cfg):
                del parent[last]
        else:
            _apply([override], cfg)
