"""List runs and sweeps: python runs.py ls"""

import sys

try:
    from kindling.runs import main
except ModuleNotFoundError as error:
    raise SystemExit(f"error: {error.name} is not installed; run `make setup` and use .venv/bin/python") from None

if __name__ == "__main__":
    sys.exit(main(__file__, sys.argv[1:]))
