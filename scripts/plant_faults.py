"""Plant one-line faults in a copy of the project, one by one, and print which test catches each.

A fault that no test catches is a test that is missing. Run: python scripts/plant_faults.py [--only WORD]
"""

import argparse
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torchvision  # noqa: F401  these are imported once, for all the forks

PROJECT = Path(__file__).resolve().parents[1]
FOLDERS = (".schema", "src", "configs", "tests", "scripts", "docs")
FILES = ("train.py", "evaluate.py", "pyproject.toml", "Makefile", "README.md", "CONTRIBUTING.md")


# Where the test file has another name than the module.
NEAREST = {
    "airbench": "models",
    "annotations": "signatures",
    "classifier": "train",
    "cnn": "models",
    "csv_logger": "run_folder",
    "datamodule": "data",
    "entry": "entries",
    "epoch_sums": "resumption",
    "fault": "check",
    "files": "check",
    "folder": "image_folder",
    "keys": "check",
    "loop_counters": "crash",
    "machine": "rules",
    "metrics": "train",
    "mnist_5k": "data",
    "nodes": "check",
    "plots": "evaluate",
    "resnet": "models",
    "resume_checkpoint": "crash",
    "seeds": "loader",
    "start": "resumption",
    "syntax": "check",
    "tree": "check",
    "torchvision": "models",
    "torchvision_sets": "data",
    "values": "rules",
    "vit": "models",
    "whole_file": "checkpoint",
}


class Fault(NamedTuple):
    """One line of one file, made wrong."""

    file: str  # below src/kindling
    right: str
    wrong: str


FAULTS = [
    Fault("data/loader.py", "torch.randperm(self.num_images, generator=generator)", "torch.randperm(self.num_images)"),
    Fault("data/loader.py", "mix_seeds(self.seed, self.epoch)", "mix_seeds(self.seed, 0)"),
    Fault("data/loader.py", "self.order.first_batch = self.order.first_batch, 0", "self.order.first_batch = 0, 0"),
    Fault("data/loader.py", "draws[part]", "draws[: len(images)]"),
    Fault("data/loader.py", "part[self.rank :: self.world_size]", "part[: len(part) // self.world_size]"),
    Fault("data/loader.py", "torch.tensor([NO_LABEL])", "labels[:1]"),
    Fault("data/loader.py", "            generator=torch.Generator(),", "            generator=None,"),
    Fault("data/augment.py", "flipped = draws[:, FLIP_DRAW] <", "flipped = draws[:1, FLIP_DRAW] <"),
    Fault("data/augment.py", "(draws * (2 * self.crop_padding + 1))", "(draws * 2 * self.crop_padding)"),
    Fault("data/augment.py", "len(images) * flipped", "len(images)"),
    Fault("data/augment.py", "images.narrow(dim, 1, padding)", "images.narrow(dim, 0, padding)"),
    Fault("data/loader.py", "(self.epoch % 2)", "(self.epoch % 3)"),
    Fault("data/loader.py", "self._alternating_draws()[indices]", "self._alternating_draws()"),
    Fault("data/augment.py", "(2 * turn - 1) * self.rotation", "turn * self.rotation"),
    Fault("data/augment.py", ".sub_(mean).div_(std)", ".div_(std).sub_(mean)"),
    Fault("data/splits.py", "manual_seed(SPLIT_SEED)", "manual_seed(torch.initial_seed())"),
    Fault("data/splits.py", "(~held).nonzero()", "(held >= 0).nonzero()"),
    Fault("data/mnist_5k.py", "fraction=0.125", "fraction=0.12"),
    Fault("data/datamodule.py", 'return self.loader("test")', 'return self.loader("val")'),
    Fault("data/datamodule.py", "augment=None if overfit else self.augment", "augment=None"),
    Fault("data/image_folder.py", "// 257", "// 256 * 2"),
    Fault("data/image_folder.py", "s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}", "path.name}"),
    Fault("data/image_folder.py", 'listed["train"] = [listed["train"][i] for i in kept.tolist()]', "pass"),
    Fault("data/torchvision_sets.py", "test=_tensors(test_set)", "test=_tensors(train_set)"),
    Fault("models/cnn.py", 'nonlinearity="relu"', 'nonlinearity="linear"'),
    Fault("models/resnet.py", "residual + self.shortcut(x)", "residual + x.mean()"),
    Fault("models/airbench.py", "conv.weight[: conv.in_channels]", "conv.weight[:1]"),
    Fault("models/whitening.py", "(variances + EPS).sqrt()).T", "(variances + EPS).sqrt())"),
    Fault("models/whitening.py", "- mean.outer(mean)", ""),
    Fault("callbacks/whitening.py", " and not each.is_fitted", ""),
    Fault("classifier.py", "parameter.grad = None", "pass"),
    Fault("classifier.py", "self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)", "pass"),
    Fault("muon.py", "id(matrices[-1])", "id(matrices[0])"),
    Fault("muon.py", 'sums, alpha=group["momentum"])', "sums, alpha=1.0)"),
    Fault("muon.py", "1 < len(p) < p.numel()", "1 < len(p)"),
    Fault("muon.py", "self._kinds, has_head=False", "self._kinds"),
    Fault("muon.py", "len(parameter) ** 0.5 / (norm + EPS)", "1 / norm"),
    Fault("muon.py", "max(1.0, rows / columns) ** 0.5", "1.0"),
    Fault("models/vit.py", "dim=1) + self.positions", "dim=1)"),
    Fault("models/torchvision.py", "if surplus or len(heads) > 1", "if surplus"),
    Fault("optimization.py", "if parameter.ndim > 1]", "if parameter.ndim > 0]"),
    Fault("optimization.py", "(step + 1) / warmup_steps", "step / warmup_steps"),
    Fault("optimization.py", "0.5 * (1 + math.cos(", "(1 + math.cos("),
    Fault("optimization.py", "lambda progress: 1 - progress", "lambda progress: 1 - progress**2"),
    Fault("optimization.py", 'group["lr"] / common if common else 1.0', "1.0"),
    Fault("views.py", "0.5 * unmoved + 0.25 * moved", "(unmoved + moved) / 3"),
    Fault("views.py", "padded[:, :, 2:, 2:]", "padded[:, :, :-2, 2:]"),
    Fault("metrics.py", "loss.detach() * num_images", "loss.detach()"),
    Fault("metrics.py", "add_(loss.detach(), alpha=num_images)", "add_(loss.detach())"),
    Fault("metrics.py", "(logits.argmax(1) == labels).sum()", "(logits.argmin(1) == labels).sum()"),
    Fault("classifier.py", '        self.totals["val"].reset()\n', "        pass\n"),
    Fault("classifier.py", 'self.views.get(stage, "none"))', 'self.views.get(stage, "none")).softmax(1)'),
    Fault("classifier.py", "if clips_mixed else", "if False else"),
    Fault("classifier.py", "self.__dict__[name] = value", "pass"),
    Fault("overhead.py", 'getattr(getattr(callback, name), "__func__", None)', "getattr(type(callback), name)"),
    Fault("overhead.py", "callback._every_n_train_steps < 1 and", "True or"),
    Fault("overhead.py", 'callback.logging_interval == "epoch"', "True"),
    Fault("overhead.py", "type(callback) is ModelCheckpoint", "isinstance(callback, ModelCheckpoint)"),
    Fault("overhead.py", "skip_empty_hooks(callback)", "pass"),
    Fault("overhead.py", 'os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)', "pass"),
    Fault("compilation.py", "net.compile(mode=mode)", "torch.compile(net, mode=mode)"),
    Fault("process.py", "        gc.enable()\n", "        pass\n"),
    Fault("process.py", "code = code or 120", "pass"),
    Fault("process.py", "    atexit._run_exitfuncs()\n", "    pass\n"),
    Fault("config/once.py", "copy.deepcopy(_files[key])", "_files[key]"),
    Fault("config/once.py", "(stat.st_mtime_ns, stat.st_size)", "0"),
    Fault("config/once.py", "master_config.hydra.searchpath or", ""),
    Fault("config/nodes.py", "if misspelt:", "if False:"),
    Fault("config/once.py", "config = copy.deepcopy(base)", "config = base"),
    Fault("config/once.py", "not (chooses or override.is_hydra_override())", "not chooses"),
    Fault("config/once.py", "base is None or master is not master_config", "base is None"),
    Fault("config/once.py", "overrides if override not in values)", "overrides)"),
    Fault("train.py", "data, best, verbose=False", "data, None, verbose=False"),
    Fault("train.py", "seed_everything(cfg.seed, workers=True, verbose=False)", "pass"),
    Fault("train.py", "if cfg.train and trainer.global_step == 0:", "if False:"),
    Fault("train.py", "net.train()", "pass"),
    Fault("checkpoint.py", 'map_location="cpu", weights_only=True', 'map_location="cpu", weights_only=False'),
    Fault("checkpoint.py", "return records.testzip()", "return None"),
    Fault("config/annotations.py", "and not isinstance(value, bool)", ""),
    Fault("config/annotations.py", "return len(items) == len(value) and", "return"),
    Fault("config/check.py", "elif there and override.is_add() and", "elif False and"),
    Fault("config/check.py", "if not values:", "if False:"),
    Fault("config/check.py", "return self._composed[lines].copy()", "return self._composed[lines]"),
    Fault("config/entry.py", "return [*flags, *given.overrides]\n    folder", "return list(arguments)\n    folder"),
    Fault("config/files.py", 'mark.line + 1}"\n        return ""', 'mark.line}"\n        return ""'),
    Fault("config/files.py", "yield from self.faults(", "self.faults("),
    Fault("config/keys.py", "    if same_name:", "    if False:"),
    Fault("config/machine.py", "isinstance(module, UNORDERED) and not single", "isinstance(module, UNORDERED)"),
    Fault("config/nodes.py", "if key not in takes and not known.takes_more", "if key not in takes"),
    Fault("config/nodes.py", "if source(config, fault.path) not in faulty", ""),
    Fault("config/rules.py", "patience >= epochs > TRY_OUT", "patience > epochs > TRY_OUT"),
    Fault("config/rules.py", "if right and mode in", "if False and mode in"),
    Fault("config/signatures.py", "own.required | (base.required & rest.keys())", "own.required"),
    Fault("config/signatures.py", "with suppress(TargetMissing):\n            return _find(source, name)", "pass"),
    Fault("config/syntax.py", "if parse(line).value() == value:", "if True:"),
    Fault("config/tree.py", 'if "HydraConfig was not set" not in str(error)', "if True"),
    Fault("config/values.py", "and math.isfinite(value)", ""),
    Fault("config/targets.py", "or not origin.startswith(ALLOWED_PREFIXES)", ""),
    Fault("evaluate.py", 'run = trainer.validate if cfg.split == "val" else trainer.test', "run = trainer.test"),
    Fault("evaluate.py", "labels[:, None]).any(1)", "labels[:, None]).all(1)"),
    Fault("plots.py", "losses[logits.argmax(1) == labels] = -1", "pass"),
    Fault("redaction.py", "if config is not None and _is_secret(key):", "if False:"),
    Fault("seeds.py", "SeedSequence(numbers)", "SeedSequence(numbers[0])"),
    Fault("data/folder.py", "if real in seen:", "if False:"),
    Fault("data/folder.py", "return 1 if grey else 3", "return 3 if grey else 1"),
    Fault("run_folder.py", '"interrupted" if interruption(error) else "failed"', '"failed"'),
    Fault("run_folder.py", 'if not self.config["resume"]:', "if False:"),
    Fault("run_folder.py", "        remove_leftovers(self.folder)\n", ""),
    Fault("resumption.py", "    if refused:", "    if False:"),
    Fault("resumption.py", "and (strict or not is_among(key, BITS))", "and not is_among(key, BITS)"),
    Fault("resumption.py", "sorted(found, reverse=True)", "sorted(found)"),
    Fault(
        "csv_logger.py",
        "self._write_table(self._read_table()[: self._num_rows])\n            self._write_row()",
        "pass",
    ),
    Fault("checkpoint.py", '        file.rename(file.with_name(f"{file.name}.damaged"))\n', "        pass\n"),
    Fault("checkpoint.py", "if last.exists() and not any(file.samefile(last) for file in files):", "if False:"),
    Fault("start.py", 'if saved is None and run.config["fork"]:', "if False:"),
    Fault("start.py", "classifier.lr_factor = now / before", "classifier.lr_factor = 1.0"),
    Fault("start.py", "    if PROGRESS not in saved.content:", "    if False:"),
    Fault("epoch_sums.py", "before + now if adds", "now if adds"),
    Fault("epoch_sums.py", "metric._update_count = saved", "_ = saved"),
    Fault("classifier.py", "seed_all(self._epoch_seed + batch_idx, self.device)", "pass"),
    Fault("classifier.py", 'self.totals["train"].restore(', 'self.totals["test"].restore('),
    Fault("loop_counters.py", 'batches["is_last_batch"] = False', "pass"),
    Fault("loop_counters.py", '            counter["ready"] -= 1', "            pass"),
    Fault("callbacks/resume_checkpoint.py", "trainer.check_val_every_n_epoch = sys.maxsize", "pass"),
    Fault("callbacks/resume_checkpoint.py", "trainer.fit_loop._restarting = False", "pass"),
    Fault("callbacks/resume_checkpoint.py", "        trainer.num_sanity_val_steps = 0", "        pass"),
    Fault("callbacks/resume_checkpoint.py", "_callback_metrics.update(metrics)", "_callback_metrics.update({})"),
    Fault("callbacks/resume_checkpoint.py", "        refuse_longer_cycle(trainer)\n", ""),
    Fault("callbacks/resume_checkpoint.py", "if batch_idx % trainer.accumulate_grad_batches or", "if"),
    Fault("callbacks/ema.py", 'if trainer.state.fn == "fit":', "if True:"),
    Fault("whole_file.py", "            error.filename = str(path)", "            pass"),
    Fault("whole_file.py", "        with suppress(OSError):\n            temporary.unlink()\n", ""),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="plant the faults whose file name holds this, and trust the tests")
    only = parser.parse_args().only
    faults = [fault for fault in FAULTS if only in fault.file]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in FOLDERS:
            shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in FILES:
            shutil.copy(PROJECT / name, copy / name)
        if not only and (catcher := caught_by(copy, tests_from("", copy))):
            print(f"a test fails without any fault: {catcher}; mend it first")
            return 1
        missed = sum(plant(copy, number, fault) for number, fault in enumerate(faults, start=1))
    print(f"{len(faults) - missed} of {len(faults)} faults caught")
    return int(missed > 0)


def plant(copy: Path, number: int, fault: Fault) -> bool:
    """Whether no test catches the fault; prints two lines."""
    file = copy / "src" / "kindling" / fault.file
    text = file.read_text()
    assert text.count(fault.right) == 1, f"{fault.file} holds {fault.right!r} {text.count(fault.right)} times"
    file.write_text(text.replace(fault.right, fault.wrong))
    started = time.perf_counter()
    catcher = caught_by(copy, tests_from(file.stem, copy))
    file.write_text(text)
    print(f"{number:2} {fault.file}: {fault.wrong.strip() or 'line removed'}")
    print(f"   {catcher or 'MISSED'}  ({time.perf_counter() - started:.0f} s)", flush=True)
    return catcher is None


def tests_from(stem: str, copy: Path) -> list[str]:
    """All test files, those likeliest to catch a fault of the module first and the slow ones last."""
    nearest = f"test_{NEAREST.get(stem, stem)}"
    slow = ("test_configs", "test_crash", "test_entries", "test_processes")
    files = sorted(copy.glob("tests/test_*.py"), key=lambda file: (file.stem != nearest, file.stem in slow))
    return [str(file) for file in files]


def caught_by(copy: Path, tests: list[str]) -> str | None:
    """The first test that fails, or None if all pass; in a forked process, which need not import torch again."""
    output = copy / "output"
    process = multiprocessing.get_context("fork").Process(target=run_tests, args=(copy, tests, output))
    process.start()
    process.join()
    if process.exitcode == 0:
        return None
    text = output.read_text()
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    return failed[1] if failed else f"exit {process.exitcode}: {text.strip().splitlines()[-1]}"


def run_tests(copy: Path, tests: list[str], output: Path) -> None:
    with output.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.chdir(copy)
    sys.path.insert(0, str(copy / "src"))
    os.environ["PYTHONPATH"] = str(copy / "src")  # for the commands that tests start
    sys.dont_write_bytecode = True
    # One test compares the code with the list above: it would catch every fault, and prove nothing.
    others = ["-k", "not each_fault_to_plant"]
    sys.exit(int(pytest.main(["-x", "-p", "no:cacheprovider", *others, *tests])))


if __name__ == "__main__":
    sys.exit(main())
