"""What predict.py refuses before torch is loaded: no checkpoint, no images, an output that would be in the way."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from kindling.config.fault import Fault
from kindling.config.plain import Config
from kindling.config.rules.run_rules import one_checkpoint_is_named
from kindling.inference.predicting import journal
from kindling.inference.predicting.image_names import ALLOWED, IMAGE_SUFFIXES, MAGIC, STDIN, list_images
from kindling.inference.predicting.tables import ENDINGS, STDOUT


def faults(config: Config) -> Iterator[Fault]:
    yield from one_checkpoint_is_named(config)
    yield from there_are_images(config)
    yield from the_output_is_free(config)


def there_are_images(config: Config) -> Iterator[Fault]:
    """Of names on stdin nothing is said here, as they can be read only once."""
    given = config["input"]
    if not given:
        yield Fault("input", "nothing", ALLOWED)
    elif given == STDIN and sys.stdin is None:
        yield Fault("input", f"{STDIN}, and stdin is closed", ALLOWED)
    elif given != STDIN and next(list_images(given), None) is None:
        if os.path.isdir(os.path.expanduser(given)) or MAGIC.search(given):
            endings = ", ".join(sorted(IMAGE_SUFFIXES))
            yield Fault("input", f"{given}, where no image is", f"names that end in {endings}, and are not hidden")
        else:
            yield Fault("input", f"{given}, which does not exist", ALLOWED)


def the_output_is_free(config: Config) -> Iterator[Fault]:
    given = config["output"]
    if given == STDOUT and sys.stdout is None:
        yield Fault("output", f"{STDOUT}, and stdout is closed", f"a file that ends in {', '.join(ENDINGS)}")
    if given == STDOUT:
        return
    output = Path(given or "").expanduser()
    if output.suffix.lower() not in ENDINGS:
        endings = ", ".join(ENDINGS)
        yield Fault("output", given or "nothing", f"a file that ends in {endings}; {STDOUT} for CSV on stdout")
    elif not output.parent.is_dir():
        yield Fault("output", f"{given}, whose folder does not exist", f"a folder that does; mkdir -p {output.parent}")
    elif output.is_dir():
        yield Fault("output", f"{given}, which is a folder", "a file")
    elif is_same_file(output, config["input"]):
        yield Fault("output", f"{given}, which is the input", "another file")
    elif os.path.lexists(output) and not config["overwrite"] and not journal.is_of(output):
        yield Fault("output", f"{given}, which exists", "another name, or overwrite=true")


def is_same_file(output: Path, given: str | None) -> bool:
    return bool(given) and os.path.realpath(output) == os.path.realpath(os.path.expanduser(str(given)))
