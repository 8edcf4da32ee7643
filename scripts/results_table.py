"""The table of recipes, made from the headers of configs/experiment/*.yaml.

python scripts/results_table.py prints it; --write puts it between its marks in README.md and docs/settings.md.
"""

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PAGES = (PROJECT / "README.md", PROJECT / "docs" / "settings.md")
BETWEEN = re.compile(r"(<!-- results: .*? -->\n).*?(<!-- end of results -->)", re.DOTALL)


def table() -> str:
    rows = ["| command | on the test split | time |", "|---|---|---|"]
    for file in sorted((PROJECT / "configs" / "experiment").glob("*.yaml")):
        header = dict(re.findall(r"^# (command|result|cost): +(.+)$", file.read_text(), re.MULTILINE))
        # A recipe that was not measured yet lacks one.
        if "result" in header and "cost" in header:
            rows.append(f"| `{header['command']}` | {header['result']} | {header['cost']} |")
    return "\n".join(rows) + "\n"


def filled(page: Path) -> str:
    """The text of a page with the table between its marks, if it has any."""
    return BETWEEN.sub(lambda found: found[1] + table() + found[2], page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    if "--write" in sys.argv:
        for page in filter(Path.is_file, PAGES):
            page.write_text(filled(page), encoding="utf-8")
    else:
        print(table(), end="")
