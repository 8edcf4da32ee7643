"""Check every recipe with every data set and every model that fits it, and build each model: make check-configs

A data set fits if it has what the recipe's task and model refer to: image recipes go with sets of images, others with
data of their kind. A recipe that has settings of its model fits that model alone. A model that cannot take the images
of a set is a misfit, not a mistake in a config.
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from PIL import Image

from kindling.cli.entry import compose
from kindling.config import project
from kindling.config.check import fits
from kindling.config.check.files import ConfigFiles
from kindling.config.composition import instantiate, to_plain
from kindling.errors import ConfigError, KindlingError

CONFIGS = project.use(Path(__file__).parents[1]).configs

GROUPS = ConfigFiles(CONFIGS).groups


def main() -> int:
    every = list(combinations(GROUPS["experiment"], fits.options("data")))
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cat", "dog"):
            (Path(folder) / name).mkdir()
            Image.new("RGB", (32, 32)).save(Path(folder) / name / "0.png")
        answers = {" ".join(lines): check([*lines, f"paths.data={folder}"]) for lines in every}
    refused = {lines: answer for lines, answer in answers.items() if answer}
    for lines, answer in refused.items():
        print(f"{lines}\n    {answer}")
    wrong = [answer for answer in refused.values() if not answer.startswith("misfit")]
    print(f"{len(every)} combinations, {len(refused) - len(wrong)} misfits, {len(wrong)} wrong")
    return int(bool(wrong))


def combinations(experiments: Sequence[str], datas: Sequence[str]) -> Iterator[list[str]]:
    """The overrides of each recipe with each data set that its model fits, and each model that fits its data."""
    base = fits.chosen_by(CONFIGS / "train.yaml")
    for experiment in experiments:
        file = CONFIGS / "experiment" / f"{experiment}.yaml"
        own = base | fits.chosen_by(file)
        alone = "model" in yaml.safe_load(file.read_text(encoding="utf-8"))
        others = [] if alone else [f"model={model}" for model in fits.models_for(own["task"], own["data"])]
        for data, model in itertools.product(datas, others or [""]):
            if fits.go_together(own["task"], data, own["model"]):
                root = ["data.root=${paths.data}"] if fits.written("data", data).get("root") == "???" else []
                yield [f"experiment={experiment}", f"data={data}", *filter(None, [model]), *root]


def check(lines: list[str]) -> str:
    """What is wrong with a command line, "" if nothing."""
    # They import torch, which --help can do without.
    from kindling.train import build_task
    from kindling.training.found import fill_in

    try:
        cfg = compose(lines)
    except KindlingError as error:
        return str(error)
    try:
        data = instantiate(cfg.data, "data")
        cfg, config, _ = fill_in(cfg, to_plain(cfg), data)
        build_task(cfg, config)
    except ConfigError as error:
        return f"misfit: {error}"
    return ""


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.exit(main())
