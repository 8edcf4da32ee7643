"""The table of recipes, made from the headers of configs/experiment/*.yaml.

python scripts/results_table.py prints it.
"""

import argparse
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/settings.md")
BETWEEN = re.compile(r"(<!-- results: .*? -->\n).*?(<!-- end of results -->)", re.DOTALL)


def table(root: Path | None = None) -> str:
    rows = ["| command | on the test split | time |", "|---|---|---|"]
    for file in sorted(((root or PROJECT) / "configs" / "experiment").glob("*.yaml")):
        header = dict(re.findall(r"^# (command|result|cost): +(.+)$", file.read_text(), re.MULTILINE))
        # A recipe that was not measured yet lacks one.
        if "result" in header and "cost" in header:
            rows.append(f"| `{header['command']}` | {header['result']} | {header['cost']} |")
    return "\n".join(rows) + "\n"


def filled(page: Path, root: Path | None = None) -> str:
    """The text of a page with the table between its marks, if it has any."""
    return BETWEEN.sub(lambda found: found[1] + table(root) + found[2], page.read_text(encoding="utf-8"))


def write(place: Path, root: Path) -> None:
    """The table of the recipes of `root` into the pages of a folder."""
    for page in filter(Path.is_file, (place / name for name in PAGES)):
        page.write_text(filled(page, root), encoding="utf-8", newline="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"put it between its marks in {' and '.join(PAGES)}")
    if parser.parse_args().write:
        write(PROJECT, PROJECT)
    else:
        print(table(), end="")
