"""What predict.py refuses before torch is loaded, and what is wrong with its input once the model's kind is known."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kindling.config.fault import Fault
from kindling.config.plain import Config
from kindling.config.rules.run_rules import one_checkpoint_is_named
from kindling.images import listing
from kindling.inference.predicting import image_names, journal, raw_rows
from kindling.inference.predicting.image_names import MAGIC, STDIN, list_images
from kindling.inference.predicting.tables import ENDINGS, STDOUT
from kindling.process import streams

TEXT_SUFFIX = ".txt"
TEXT_ALLOWED = f"a prompt, a text file, or {STDIN} for stdin"
ALLOWED = {"image": image_names.ALLOWED, "rows": raw_rows.ALLOWED, "text": TEXT_ALLOWED}
NOUNS = {"image": "images", "rows": "rows", "text": "texts"}
# Of the kinds that take them; a key that is not here is for all.
TAKEN_BY = {
    "views": ("image",),
    "top_k": ("image", "text"),
    "length": ("text",),
    "temperature": ("text",),
    "seed": ("text",),
}
# What does nothing, where that is not null.
NEUTRAL = {"seed": 0}
DEFAULT_OUTPUT = {"image": "predictions.csv", "rows": "predictions.csv", "text": STDOUT}


def faults(config: Config) -> Iterator[Fault]:
    """What is wrong whatever the model takes."""
    yield from one_checkpoint_is_named(config)
    yield from there_is_an_input(config)
    yield from the_output_is_free(config)


def there_is_an_input(config: Config) -> Iterator[Fault]:
    """Of names on stdin nothing is said here, as they can be read only once."""
    given = config["input"]
    if not given:
        yield Fault("input", "nothing", "; ".join(ALLOWED.values()))
    elif given == STDIN and streams.was_closed(0):
        yield Fault("input", f"{STDIN}, and stdin is closed", "; ".join(ALLOWED.values()))
    elif is_path(given) and not is_table_or_text(given):
        yield from there_are_images(given)


def is_path(given: str) -> bool:
    """Whether it can only be meant as one; a prompt may hold anything."""
    suffixes = (*listing.ENDINGS, *raw_rows.SUFFIXES, TEXT_SUFFIX)
    looks_so = given.startswith(("/", "./", "../", "~/")) or given.lower().endswith(tuple(suffixes))
    return given != STDIN and "\n" not in given and (looks_so or os.path.isdir(given))


def is_table_or_text(given: str) -> bool:
    return os.path.isfile(os.path.expanduser(given))


def there_are_images(given: str) -> Iterator[Fault]:
    if next(list_images(given), None) is None:
        if os.path.isdir(os.path.expanduser(given)) or MAGIC.search(given):
            endings = ", ".join(listing.READ_BY_ALL)
            yield Fault("input", f"{given}, where no image is", f"names that end in {endings}, and are not hidden")
        else:
            yield Fault("input", f"{given}, which does not exist", "; ".join(ALLOWED.values()))


def faults_of_kind(config: Config, kind: str) -> Iterator[Fault]:
    """What is wrong for a model that takes images, rows or prompts."""
    given = config["input"]
    for name, kinds in TAKEN_BY.items():
        if config[name] != NEUTRAL.get(name) and kind not in kinds:
            taken = " and ".join(NOUNS[each] for each in kinds)
            yield Fault(name, f"{config[name]} for a model of {NOUNS[kind]}", f"for {taken}; leave it out")
    if kind == "image" and given != STDIN:
        yield from there_are_images(given)
    elif kind == "rows" and given != STDIN:
        is_table = os.path.isfile(os.path.expanduser(given)) and given.lower().endswith(raw_rows.SUFFIXES)
        if not is_table:
            yield Fault("input", f"{given} for a model of rows", ALLOWED["rows"])
    yield from the_output_is_free(config, kind)


def the_output_is_free(config: Config, kind: str = "") -> Iterator[Fault]:
    given = config["output"]
    if given is None and not kind:
        # Its name depends on the kind.
        return
    given = given if given is not None else DEFAULT_OUTPUT[kind]
    if given == STDOUT and streams.was_closed(1):
        yield Fault("output", f"{STDOUT}, and stdout is closed", f"a file that ends in {', '.join(ENDINGS)}")
    if given == STDOUT:
        return
    output = Path(given).expanduser()
    if output.suffix.lower() not in endings_of(kind):
        yield Fault("output", given or "nothing", allowed_outputs(kind))
    elif not output.parent.is_dir():
        yield Fault("output", f"{given}, whose folder does not exist", f"a folder that does; mkdir -p {output.parent}")
    elif output.is_dir():
        yield Fault("output", f"{given}, which is a folder", "a file")
    elif is_same_file(output, config["input"]):
        yield Fault("output", f"{given}, which is the input", "another file")
    elif os.path.lexists(output) and not config["overwrite"] and not journal.is_of(output):
        yield Fault("output", f"{given}, which exists", "another name, or overwrite=true")


def endings_of(kind: str) -> tuple[str, ...]:
    tables = () if kind == "text" else tuple(ENDINGS)
    return (*tables, TEXT_SUFFIX) if kind in ("", "text") else tables


def allowed_outputs(kind: str) -> str:
    if kind == "text":
        return f"a file that ends in {TEXT_SUFFIX}; {STDOUT} for stdout"
    of_text = "" if kind else f"; of a text {TEXT_SUFFIX}"
    return f"a file that ends in {', '.join(ENDINGS)}; {STDOUT} for CSV on stdout{of_text}"


def is_same_file(output: Path, given: Any) -> bool:
    return bool(given) and os.path.realpath(output) == os.path.realpath(os.path.expanduser(str(given)))
