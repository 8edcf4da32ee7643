"""Write .schema/*.json, by which editors complete and check the YAML files: make schema"""

import argparse
import json
from pathlib import Path

from kindling.config import project
from kindling.config.check.schema import schemas

PROJECT = project.use(Path(__file__).parents[1])
FOLDER = PROJECT.root / ".schema"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


def texts() -> dict[str, str]:
    """What each file is to hold, by its name."""
    return {name: json.dumps(schema, indent=1) + "\n" for name, schema in schemas().items()}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
