"""Check every recipe with every data set and every model that fits it, and build each model: make check-configs

A recipe that has settings of its model fits that model alone. A model that cannot take the images of a set is a
misfit, not a mistake in a config.
"""

import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from PIL import Image

from kindling.cli.entry import compose
from kindling.config import project
from kindling.config.check.files import ConfigFiles
from kindling.config.composition import to_plain
from kindling.errors import ConfigError, KindlingError
from kindling.train import build_task

CONFIGS = project.use(Path(__file__).parents[1]).configs

GROUPS = ConfigFiles(CONFIGS).groups


def main() -> int:
    # Plain data is nothing until it is given some.
    every = list(combinations(GROUPS["experiment"], [name for name in GROUPS["data"] if name != "plain"]))
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


def combinations(experiments: Sequence[str], data: Sequence[str]) -> Iterator[list[str]]:
    """The overrides of each recipe with each data set and each model that fits."""
    for experiment in experiments:
        recipe = yaml.safe_load((CONFIGS / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8"))
        models = [""] if "model" in recipe else [f"model={name}" for name in GROUPS["model"]]
        for images, model in itertools.product(data, models):
            root = ["data.root=${paths.data}"] if images == "image_folder" else []
            yield [f"experiment={experiment}", f"data={images}", *filter(None, [model]), *root]


def check(lines: list[str]) -> str:
    """What is wrong with a command line, "" if nothing."""
    try:
        cfg = compose(lines)
    except KindlingError as error:
        return str(error)
    try:
        build_task(cfg, to_plain(cfg))
    except ConfigError as error:
        return f"misfit: {error}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
