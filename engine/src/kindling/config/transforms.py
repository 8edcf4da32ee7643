"""Transforms of training images that are given by name, as the one that data take."""

from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from kindling.config.left_out import node_at

IN_ORDER = "torchvision.transforms.v2.Compose"


def as_one_transform(config: DictConfig) -> None:
    """Make what `transform=[rand,color_jitter]` gave `data.transform` one node, which applies them in that order."""
    node = node_at(config, "data.transform")
    if not isinstance(node, DictConfig) or "_target_" in node:
        return
    named: Any = OmegaConf.to_container(node, resolve=False)
    nodes = [each for each in named.values() if each is not None]
    one = {"_target_": IN_ORDER, "transforms": nodes} if len(nodes) > 1 else next(iter(nodes), None)
    with open_dict(config):
        OmegaConf.update(config, "data.transform", one, merge=False)
