"""Tasks, data sets, models and recipes of a project: what else goes with one that goes."""

import ast
import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from additions.parts import Part
from kindling.config import project
from kindling.config.check import fits
from kindling.config.fault import Fault, nearest
from kindling.errors import ConfigError

GROUPS = ("task", "data", "model", "experiment")
Option = tuple[str, str]


def options() -> list[Option]:
    """The project's own, that is of its own code, and its recipes."""
    here = project.current()
    recipes = [("experiment", file.stem) for file in sorted((here.configs / "experiment").glob("*.yaml"))]
    return [(group, name) for group in GROUPS[:3] for name in fits.options(group) if is_own(group, name)] + recipes


def is_own(group: str, name: str) -> bool:
    return fits.target_of(fits.written(group, name)).startswith(f"{project.current().package}.")


def chosen_at_first() -> set[Option]:
    """What configs/train.yaml chooses, and the first recipe of just that, which `make train` runs."""
    base = fits.chosen_by(project.current().configs / "train.yaml")
    return {*((group, base[group]) for group in GROUPS[:3]), ("experiment", base["model"])}


def that_can_go() -> list[Option]:
    """Those that the first run does not need."""
    first = chosen_at_first()
    return [option for option in options() if option not in first]


def option_of(text: str) -> Option:
    """
    Raises:
        ConfigError: `group=name` is no option of the project's own, or one that its first run needs.
    """
    group, _, name = text.partition("=")
    known = ["=".join(each) for each in that_can_go()]
    if text in known:
        return group, name
    if (group, name) in chosen_at_first():
        given = f"{text}, which configs/train.yaml and `make train` begin with"
        raise ConfigError(str(Fault("--without", given, "another, or other defaults there first")))
    raise ConfigError(
        str(
            Fault(
                "--without",
                text,
                f"an example, such as {known[0]}" if known else "an example; none is left",
                nearest(text, known),
            )
        )
    )


def with_what_needs_them(gone: Iterable[Option]) -> set[Option]:
    """And those that are of no use without them: recipes that choose one, and whatever fits nothing any more."""
    found = set(gone)
    triples = list(product(*(fits.options(group) for group in GROUPS[:3])))
    fitting = [dict(zip(GROUPS, each, strict=False)) for each in triples if fits.go_together(*each)]
    while True:
        left = [each for each in fitting if not found & set(each.items())]
        more = {(group, name) for each in fitting for group, name in each.items() if is_own(group, name)}
        more -= {option for each in left for option in each.items()}
        more |= {(group, name) for group, name in options() if group == "experiment" and found & chosen_by(name)}
        if more <= found:
            return found
        found |= more


def chosen_by(recipe: str) -> set[Option]:
    return set(fits.chosen_by(fits.file_of("experiment", recipe)).items())


def part_of(gone: Iterable[Option], further: dict[str, Part]) -> Part:
    """The files and words of options, and of what only they need; `further` has more of some."""
    here, options_gone = project.current(), with_what_needs_them(gone)
    configs = {fits.file_of(group, name) for group, name in options_gone}
    code = orphans(configs)
    files = [file.relative_to(here.root).as_posix() for file in [*sorted(configs), *code]]
    files += [f"tests/golden/{name}.yaml" for group, name in sorted(options_gone) if group == "experiment"]
    files += [f"tests/test_{name}.py" for name in sorted({file.stem for file in (*configs, *code)})]
    words = words_of(options_gone)
    cuts = {
        # A command that --help shows.
        "configs/*.yaml": [rf"(?m)^ {{8}}.*(?:{'|'.join(words)}).*\n"],
        "docs/settings.md": [in_row(group, name) for group, name in sorted(options_gone)],
        "Makefile": [rf"(?<=features\.py)(.*) {name}\b" for group, name in options_gone if group == "experiment"],
    }
    for each in (part for name, part in further.items() if tuple(name.split("=")) in options_gone):
        files += each.files
        words += each.words
        for name, patterns in each.cuts.items():
            cuts.setdefault(name, []).extend(patterns)
    return Part(files, words, cuts=cuts)


def words_of(gone: Iterable[Option]) -> list[str]:
    """Patterns of what names options."""
    choices = [rf"(?<![\w.]){group}={name}\b" for group, name in gone]
    # And a row of a table that is about it.
    return choices + [rf"logs/{name}/|^\W*{name}, `" for group, name in gone if group == "experiment"]


def in_row(group: str, name: str) -> str:
    """A name in the row of its group, with what stands in brackets behind it; what is before it stays."""
    shown = rf"`{name}`(?: \([^|)]*\))?"
    return rf"(?m)(?<=^\| `{group}` \|)(.*?)(?:[,;] {shown}|{shown}[,;] )"


def orphans(configs: set[Path]) -> list[Path]:
    """The project's modules that are reached from these configs, and from no other."""
    every = set(project.current().configs.rglob("*.yaml"))
    return sorted(reached(every) - reached(every - configs))


def reached(configs: Iterable[Path]) -> set[Path]:
    here = project.current()
    named = re.compile(rf"\b{here.package}(?:\.\w+)+")
    waiting = [name for file in configs for name in named.findall(file.read_text(encoding="utf-8"))]
    found: set[Path] = set()
    while waiting:
        file = module_file(here.root / "src", waiting.pop())
        if file and file not in found:
            found.add(file)
            waiting += [name for name in imports(file) if name.startswith(f"{here.package}.")]
    return found


def module_file(source: Path, name: str) -> Path | None:
    """Of a module, or of what a module holds; None for a package."""
    parts = name.split(".")
    paths = (source.joinpath(*parts[:length]).with_suffix(".py") for length in range(len(parts), 1, -1))
    return next((path for path in paths if path.is_file()), None)


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
