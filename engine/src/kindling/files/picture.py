"""Pictures as files."""

from pathlib import Path
from typing import TYPE_CHECKING

from kindling.files.whole_file import write_whole

# Importing it takes half a second.
if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(figure: "Figure", file: Path) -> None:
    """As a PNG, whole or not at all."""
    with write_whole(file, "wb") as stream:
        figure.savefig(stream, format="png", dpi=120)
