"""Give twenty mistakes to train.py and to a plain Hydra app on the configs of the engine's tests, side by side.

    python engine/scripts/compare_mistakes.py    prints them, in four minutes

The plain app is what Hydra's documentation shows: `hydra.main`, and `instantiate` for data, model and trainer. It
does not train, so that what it lets through is shown as accepted.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ENGINE = Path(__file__).resolve().parents[1]
DOCUMENT = ENGINE / "docs" / "wrong-configs.md"
MISTAKES = (
    ["optimzer.lr=0.1"],
    ["optimizer.lrr=0.1"],
    ["lr=0.1"],
    ["trainer.max_epoch=3"],
    ["+trainer.max_epoch=3"],
    ["optimizer.amsgrad=true"],
    ["+optimizer.lr=0.1"],
    ["model=linaer"],
    ["modle=cnn"],
    ["model=letters"],
    ["data.batch_size=abc"],
    ["data.batch_size=0"],
    ["optimizer.lr=-1"],
    ["trainer.accelerator=cuad"],
    ["trainer.devices=two"],
    ["paths.logs=~/runs"],
    ["paths.logs='my runs"],
    ["seed=0,1,2"],
    ["monitor=val/acuracy"],
    ["optimzer.lr=0.1", "data.batch_size=abc", "model=linaer"],
)
PLAIN = """
import hydra
from kindling.cli import resolvers
from kindling.config import project

project.use({root!r})
resolvers.register()

@hydra.main(version_base="1.3", config_path={configs!r}, config_name="train")
def main(cfg):
    cfg.paths.run = {folder!r}
    for node in (cfg.data, cfg.model, cfg.optimizer, cfg.callbacks):
        hydra.utils.instantiate(node, _convert_="all")
    hydra.utils.instantiate(cfg.trainer, logger=False, _convert_="all")

main()
"""


class Answer(NamedTuple):
    code: int
    lines: list[str]


def main(*, write: bool) -> None:
    sys.path.insert(0, str(ENGINE / "tests"))
    # A project that is the same in each fork; importing it makes it.
    from bench_root import PROJECT

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.py"
        plain.write_text(PLAIN.format(root=str(PROJECT), configs=str(PROJECT / "configs"), folder=folder))
        rows = []
        for mistake in MISTAKES:
            ours = answer([str(PROJECT / "train.py"), *mistake], folder, PROJECT)
            theirs = answer([str(plain), *mistake], folder, PROJECT)
            rows.append(f"| `{' '.join(mistake)}` | {shown(ours)} | {shown(theirs)} |")
            print(rows[-1], flush=True)
    if write:
        text = DOCUMENT.read_text(encoding="utf-8")
        table = "\n".join(["| given | Kindling | plain Hydra |", "|---|---|---|", *rows])
        DOCUMENT.write_text(re.sub(r"\| given .*", lambda _: table + "\n", text, flags=re.DOTALL), encoding="utf-8")


def answer(command: list[str], folder: str, project: Path) -> Answer:
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr).replace(str(project), ".").replace(folder, ".")
    return Answer(done.returncode, [line.strip() for line in text.splitlines() if line.strip()])


def shown(answer: Answer) -> str:
    """An answer for a table: all of up to three lines; of more their number and the one that says most."""
    if answer.code == 0:
        return "accepted"
    lines = answer.lines
    if len(lines) > 3:
        errors = [line for line in lines if re.search(r"Error|Could not|Exception|error", line)]
        lines = [f"{len(lines)} lines, such as:", (errors or lines)[-1]]
    return "<br>".join(line.replace("|", "\\|").replace("<", "&lt;").replace("`", "'") for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"also into {DOCUMENT.name}")
    main(write=parser.parse_args().write)
