"""The README's table of recipes, made from the headers of configs/experiment/*.yaml.

python scripts/results_table.py prints it; --write puts it into the README.
"""

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
README = PROJECT / "README.md"
BETWEEN = re.compile(r"(<!-- results: .*? -->\n).*?(<!-- end of results -->)", re.DOTALL)


def table() -> str:
    rows = ["| command | on the test split | time |", "|---|---|---|"]
    for file in sorted((PROJECT / "configs" / "experiment").glob("*.yaml")):
        header = dict(re.findall(r"^# (command|result|cost): +(.+)$", file.read_text(), re.MULTILINE))
        # A recipe that was not measured yet lacks one.
        if "result" in header and "cost" in header:
            rows.append(f"| `{header['command']}` | {header['result']} | {header['cost']} |")
    return "\n".join(rows) + "\n"


def readme() -> str:
    """The README with the table in its place."""
    return BETWEEN.sub(lambda found: found[1] + table() + found[2], README.read_text())


if __name__ == "__main__":
    if "--write" in sys.argv:
        README.write_text(readme())
    else:
        print(table(), end="")
