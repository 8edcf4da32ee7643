"""Newest versions of all packages into constraints.txt, and what that changes: make lock

pip resolves, without installing anything; run the tests before you commit.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "constraints.txt"
# Each package that anything of the project may bring.
WANTED = ("-e", "./engine[dev,launchers]", "-e", ".")


def resolved(root: Path) -> dict[str, Any]:
    """What pip would install into an empty environment; its words are shown if it cannot."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--dry-run", "--ignore-installed", "--report", report, *WANTED], cwd=root, check=True)
        return json.loads(report.read_text(encoding="utf-8"))


def pins_of(text: str) -> dict[str, str]:
    return dict(line.split("==", 1) for line in text.split())


def newest(report: Mapping[str, Any], old: Mapping[str, str]) -> dict[str, str]:
    """The pins of a report, by the names that the old ones have."""
    spelled = {canonicalize_name(name): name for name in old}
    found = {}
    for each in report["install"]:
        name = canonicalize_name(each["metadata"]["name"])
        # What lies in a folder is the project itself.
        if "dir_info" not in each["download_info"]:
            found[spelled.get(name, name)] = each["metadata"]["version"]
    return found


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """A line for each version that is another, and for each package that is new or needed no more."""
    names = sorted({*old, *new}, key=canonicalize_name)
    return [
        f"{name} {old.get(name, '(new)')} -> {new.get(name, '(no longer needed)')}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="print what would change, and write nothing")
    given = parser.parse_args(arguments)
    old = pins_of(PINS.read_text(encoding="utf-8"))
    try:
        new = newest(resolved(ROOT), old)
    except subprocess.CalledProcessError as error:
        print(f"error: pip has found no versions that fit each other; {PINS.name} stays as it is", file=sys.stderr)
        return error.returncode
    found = changes(old, new)
    print("\n".join(found or [f"{PINS.name}: all {len(old)} versions are the newest"]))
    if found and not given.check:
        lines = sorted((f"{name}=={version}\n" for name, version in new.items()), key=str.lower)
        PINS.write_text("".join(lines), encoding="utf-8")
        print(f"{PINS.name}: {len(found)} changes; next: make setup && make test")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
