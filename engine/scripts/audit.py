"""Which pinned packages have known vulnerabilities, by pip-audit: make audit

Exit code 0: none has, of all that could be looked up; 1: some have, or the advisories could not be reached.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINNED = Path(__file__).resolve().parents[2] / "constraints.txt"
OPTIONS = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json")


def audit(pip_audit: str, pinned: Path) -> int:
    """Print a line for each vulnerability, and what was not looked up."""
    command = [pip_audit, "--requirement", str(pinned), *OPTIONS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return _failed(f"the advisories could not be read, so nothing is known ({reason[:200]})")

    found = [line for package in packages for line in _lines(package)]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    print("\n".join(found)) if found else None
    if len(skipped) == len(packages):
        return _failed("the index that is asked has no advisories, so nothing is known; ask one that has them")
    if skipped:
        print(f"audit: {len(skipped)} of {len(packages)} could not be looked up: {', '.join(skipped)}")
    print(f"audit: {len(found)} known vulnerabilities in {len(packages) - len(skipped)} packages of {pinned.name}")
    return int(bool(found))


def _lines(package: dict[str, Any]) -> list[str]:
    named = f"{package['name']} {package.get('version', '')}"
    return [
        f"{named}: {each['id']}; fixed in {', '.join(each['fix_versions']) or 'no version yet'}"
        for each in package.get("vulns", [])
    ]


def _failed(why: str) -> int:
    print(f"audit: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pip_audit", help="its command, such as .venv/audit/bin/pip-audit")
    sys.exit(audit(parser.parse_args().pip_audit, PINNED))
