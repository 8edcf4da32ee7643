"""Measure what engine/docs/benchmarks.md states.

    python engine/scripts/benchmark.py step            a training step against a loop written by hand
    python engine/scripts/benchmark.py validation      a validation step, likewise
    python engine/scripts/benchmark.py mlp             an epoch of MNIST with an MLP, likewise
    python engine/scripts/benchmark.py cnn             an epoch of experiment=cnn, likewise
    python engine/scripts/benchmark.py resume          what it costs that a run may be killed at any time
    python engine/scripts/benchmark.py monitor         what callbacks=monitor costs in experiment=cnn
    python engine/scripts/benchmark.py tensorboard     what it costs to show more in TensorBoard than curves
    python engine/scripts/benchmark.py techniques      what recomputation, transforms and mixed batches cost
    python engine/scripts/benchmark.py export          parity and latency of exported models against PyTorch
    python engine/scripts/benchmark.py data            batches against torchvision and PIL
    python engine/scripts/benchmark.py folder          photographs in files against torchvision and timm
    python engine/scripts/benchmark.py large           resnet50 and vit_b_16 on a GPU, against a loop by hand
    python engine/scripts/benchmark.py files           a start with a million files, and memory over an epoch
    python engine/scripts/benchmark.py start           from the command to an answer, to the first step, to the exit
    python engine/scripts/benchmark.py sweep           jobs of a sweep against processes
    python engine/scripts/benchmark.py pruning         32 trials of experiment=cnn with pruning against without
    python engine/scripts/benchmark.py runs            `runs.py ls` over 500 runs
    python engine/scripts/benchmark.py ranks           a second process on this machine: time, memory, communication
    python engine/scripts/benchmark.py compile         the second run with torch.compile against the first
    python engine/scripts/benchmark.py memory          peak memory of experiment=cnn against a loop written by hand
    python engine/scripts/benchmark.py profile         which packages the time of a step, a start, an evaluation goes to
    python engine/scripts/benchmark.py finder          the rate that debug=find_lr suggests against a grid of rates
    python engine/scripts/benchmark.py finetune        experiment=finetune against from scratch, over 3 seeds
    python engine/scripts/benchmark.py answers         the answers to mistakes, against `import hydra`
    python engine/scripts/benchmark.py seeds experiment=cnn    accuracy and seconds over 5 seeds (--seeds=3 for 3)
    python engine/scripts/benchmark.py speed data=image_folder data.root=PATH    cifar10_speed, against a loop by hand
    python engine/scripts/benchmark.py bits experiment=cnn     the same command twice: are the weights the same bits?
    python engine/scripts/benchmark.py serving run=logs/cnn/<run>    requests a second against a plain endpoint, memory
    python engine/scripts/benchmark.py flood model=<folder>    p99 of good clients of serve.py beside hostile ones

Each prints a table, or one JSON object with --json. Nothing else should run meanwhile. `seeds`, `speed` and `bits`
take overrides of train.py, `serving` and `flood` those of serve.py. Each round measures all variants in turn; the
least of at least five rounds counts.
"""

import logging
import sys
from importlib import import_module

from kindling.process.start_and_end import take_large_pages

# Torch asks as it is imported; a command does so too.
take_large_pages()

from benchmarks.table import show  # noqa: E402

TABLES = {
    "step": "loop.step",
    "validation": "loop.validation",
    "mlp": "loop.mlp",
    "cnn": "loop.cnn",
    "resume": "resume.resume",
    "monitor": "monitor.monitor",
    "tensorboard": "tensorboard.tensorboard",
    "techniques": "techniques.techniques",
    "export": "export.export",
    "data": "data.data",
    "folder": "folder.folder",
    "large": "large.large",
    "files": "files.files",
    "start": "commands.start",
    "sweep": "commands.sweep",
    "pruning": "sweeps.pruning",
    "runs": "sweeps.runs",
    "ranks": "ranks.ranks",
    "compile": "commands.compiled",
    "memory": "commands.memory",
    "profile": "profiles.profile",
    "finder": "finder.finder",
    "finetune": "finetune.finetune",
    "answers": "recipes.answers",
}
OF_OVERRIDES = {
    "seeds": "recipes.seeds",
    "speed": "speed.speed",
    "bits": "recipes.bits",
    "serving": "serving.serving",
    "flood": "flood.flood",
}


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    name, overrides = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name in ("-h", "--help"):
        sys.exit(print(__doc__))
    if name not in TABLES and name not in OF_OVERRIDES:
        sys.exit(f"{__doc__}\nerror: given {name!r}; allowed: {', '.join([*TABLES, *OF_OVERRIDES])}")
    if name in TABLES and overrides:
        sys.exit(f"error: given {overrides} with {name}; allowed: --json")
    logging.disable(logging.WARNING)
    module, _, function = (TABLES | OF_OVERRIDES)[name].partition(".")
    measure = getattr(import_module(f"benchmarks.{module}"), function)
    rows = measure() if name in TABLES else measure(overrides)
    show(" ".join([name, *overrides]), rows, as_json="--json" in sys.argv)


if __name__ == "__main__":
    main()
