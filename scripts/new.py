"""Add a task, a model, a data set, a callback or a recipe: code, config, test,
and a line in docs/files.md. It starts from a starter, or from one of yours.

python scripts/new.py model NAME            or task, data, callback, experiment
python scripts/new.py model NAME --like cnn a copy of cnn, under another name
python scripts/new.py experiment NAME --task T --data D --model M
                                    a recipe of these; if none is given, of those
                                    in train.yaml

What it writes passes `pytest tests` as it is. The starters are in
scripts/starters/.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import yaml

from additions import docs
from additions.choices import next_commands, option_faults, parts_of, with_parts
from additions.kinds import KINDS, like_fault, name_fault, taken
from additions.renaming import written
from additions.sources import source_of, starter
from additions.tidying import tidy
from kindling.config import project
from kindling.config.check import fits
from kindling.config.fault import Fault, nearest
from kindling.config.project import Project
from kindling.errors import ConfigError
from kindling.process import terminal

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """The exit code: 0 if everything is written, 2 if a name cannot be right, 1 if a file cannot be written."""
    try:
        here = project.use(root)
        given = read_arguments(arguments, here)
        kind, name, like = given.kind, given.name, given.like
        source = source_of(KINDS[kind], like, here) if like else starter(kind)
        if kind == "experiment" and not like:
            base = fits.chosen_by(here.configs / "train.yaml")
            source = source._replace(config=with_parts(source.config, parts_of(parts_in(given), base["task"]), base))
        files = written(KINDS[kind], name, source, here)
        write(files)
        left = tidy(root, [file for file in files if file.suffix == ".py"], "I,F401")
    except (ConfigError, OSError, SyntaxError, yaml.YAMLError) as error:
        terminal.say("\n".join(f"error: {line}" for line in str(error).splitlines()))
        return error.exit_code if isinstance(error, ConfigError) else 1
    files |= dict.fromkeys(docs.update(here), "")
    print("\n".join([*(f"wrote {file.relative_to(root)}" for file in files), *source.notes, *left]))
    print("next:\n" + "\n".join(f"  {each}" for each in next_commands(kind, name, like, list(files), here)))
    return 0


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


def read_arguments(arguments: Sequence[str], here: Project) -> argparse.Namespace:
    """Kind, name, what it is to be like, and the parts of a recipe.

    Raises:
        ConfigError: one line for each of them that cannot be right.
    """
    parser = Parser(prog="new.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("name", metavar="NAME", nargs="?", default="")
    parser.add_argument("--like", metavar="OTHER", help="an option of the same kind")
    for part in fits.PARTS:
        parser.add_argument(f"--{part}", metavar="OPTION", help=f"of a recipe: an option of configs/{part}")
    given = parser.parse_args(arguments)
    if given.kind not in KINDS:
        raise ConfigError(str(Fault("kind", repr(given.kind), ", ".join(KINDS), nearest(given.kind, KINDS))))
    faults = [name_fault(given.name, here) or taken(KINDS[given.kind], given.name, here)]
    if given.like is not None:
        faults.append(like_fault(KINDS[given.kind], given.like, here))
    parts = parts_in(given)
    if parts and (given.like is not None or given.kind != "experiment"):
        beside = "beside --like" if given.kind == "experiment" else f"to a {given.kind}"
        faults.append(Fault(f"--{next(iter(parts))}", beside, "of an experiment from the starter; leave it out"))
    else:
        faults += option_faults(parts, here)
    if any(faults):
        raise ConfigError("\n".join(str(fault) for fault in faults if fault))
    return given


def parts_in(given: argparse.Namespace) -> dict[str, str]:
    """What is asked for of a task, data and a model."""
    return {part: name for part in fits.PARTS if (name := getattr(given, part)) is not None}


def write(files: dict[Path, str]) -> None:
    """All files or none; one that is there already is left alone, and none is written then."""
    made: list[Path] = []
    try:
        for file, text in files.items():
            folders = [each for each in (file.parent, *file.parent.parents) if not each.exists()]
            for folder in reversed(folders):
                folder.mkdir()
                made.append(folder)
            with file.open("x", encoding="utf-8") as stream:
                made.append(file)
                stream.write(text)
    except BaseException:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
