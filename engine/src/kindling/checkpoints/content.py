"""What a checkpoint may hold, asked before anything reads it: anybody may have written it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from kindling.config.foreign import faults
from kindling.errors import CheckpointError

# Of optimizer steps, epochs and batches; counts beyond it are no counts.
MOST_STEPS = 2**48
# Each step looks whether its batch is one of them.
MOST_ROLLBACKS = 1000
TYPES = {
    "state_dict": dict,
    "description.config": dict,
}
# Only checkpoints that training resumes from have these.
TYPES_TO_GO_ON = {
    **dict.fromkeys(("global_step", "epoch", "progress.epoch", "progress.batch", "progress.logged_steps"), int),
    **dict.fromkeys(("progress.ended", "progress.should_stop"), bool),
    **dict.fromkeys(
        ("loops.fit_loop", "callbacks", "progress.metrics", "progress.loggers", "progress.conditions"), dict
    ),
    **dict.fromkeys(("optimizer_states", "lr_schedulers", "rollbacks"), list),
    "description.config.paths": dict,
    # A module may bring its own optimizers.
    "description.config.optimizer": (dict, NoneType),
}


def problems(saved: dict[str, Any]) -> Iterator[str]:
    """What is not as train.py writes it."""
    for place, expected in {**TYPES, **(TYPES_TO_GO_ON if "progress" in saved else {})}.items():
        found: Any = saved
        for key in place.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, expected):
            yield f"which has {'nothing' if found is None else f'a {type(found).__name__}'} as {place}"
            return
    if not all(isinstance(key, str) for key in saved["state_dict"]):
        yield "whose weights have names that are no texts"
    description = saved["description"]
    if "progress" in saved:
        yield from of_progress(saved["progress"] | {"step": saved["global_step"]})
        yield from of_sums(saved.get("train_sums", []), saved["progress"].get("sums", []))
        rollbacks = saved["rollbacks"]
        if len(rollbacks) > MOST_ROLLBACKS or not all(map(is_place, rollbacks)):
            yield f"which has no places of {MOST_ROLLBACKS} batches at most as rollbacks"
    yield from (f"whose config holds {fault}" for fault in faults(description["config"], description["format"]))


def of_progress(progress: dict[str, Any]) -> Iterator[str]:
    """What is not as a run says how far it has come."""
    for key in ("step", "epoch", "batch", "logged_steps"):
        if not -1 <= progress[key] < MOST_STEPS:
            yield f"which has {progress[key]} as progress.{key}"
    for name, value in progress["metrics"].items():
        if not is_number(value):
            yield f"which has no number as progress.metrics.{name}"
    for state in progress.get("module") or []:
        lists = [state.get(key) for key in ("frozen", "in_eval_mode", "changed")] if isinstance(state, dict) else [None]
        if not all(isinstance(each, list) for each in lists) or not isinstance(state.get("gradients"), dict):
            yield "which has no state of a module as progress.module"
            return


def of_sums(sums: Any, logged: Any) -> Iterator[str]:
    """What is not as a run adds up the numbers of an epoch.

    Args:
        sums: of the steps of a task, a mapping for each process; a list in older formats.
        logged: what a module has logged by itself, for each process.
    """
    if not isinstance(sums, list) or not all(map(are_sums, sums)):
        yield "which has no sums of an epoch as train_sums"
    for state in logged:
        of_names = state.get("logged") if isinstance(state, dict) else None
        if state is not None and not (isinstance(of_names, dict) and all(map(are_numbers, of_names.values()))):
            yield "which has no sums of what was logged as progress.sums"


def are_sums(state: Any) -> bool:
    if not isinstance(state, dict):
        return state is None or (isinstance(state, list) and all(map(is_number, state)))
    tensors = [each for each in state.values() if isinstance(each, Tensor)]
    others = [each for each in state.values() if not isinstance(each, Tensor)]
    counts = isinstance(state.get("loss"), int | float) and is_count(state.get("num"))
    return counts and all(map(is_real, tensors)) and all(isinstance(each, int | float) for each in others)


def are_numbers(result: Any) -> bool:
    """Whether all tensors of something that was logged are one number each."""
    return isinstance(result, dict) and all(map(is_number, (v for v in result.values() if isinstance(v, Tensor))))


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (is_real(value) and value.numel() == 1)


def is_real(value: Any) -> bool:
    return type(value) is Tensor and value.layout is torch.strided and not value.is_complex()


def is_count(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < MOST_STEPS


def is_place(value: Any) -> bool:
    """Whether it is [epoch, batch]."""
    return isinstance(value, list) and len(value) == 2 and all(type(each) is int for each in value)


def with_own_files(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The state of a ModelCheckpoint; if the run was moved, its files lie in `folder` now.

    Raises:
        CheckpointError: it names files that are not its own, which it would delete for better ones.
    """
    # ModelCheckpoint compares it with its own, in which links are followed.
    folder = folder.resolve()
    dirpath = Path(os.path.normpath(_text(state, "dirpath") or "."))
    moved = folder if dirpath.name == folder.name == "checkpoints" else dirpath

    def own(given: Any) -> str:
        if given == "":
            return given
        path = Path(os.path.normpath(given)) if isinstance(given, str) else Path()
        inside = path.relative_to(dirpath) if path.is_relative_to(dirpath) else Path()
        if inside == Path() or re.fullmatch(r"step_\d+\.ckpt", str(inside)):
            raise CheckpointError(
                f"callbacks: given {given!r} as a file of ModelCheckpoint; allowed: one of its own in {dirpath}"
            )
        return str(moved / inside)

    wrong = [each for each in scores_of(state) if not (each is None or is_number(each))]
    if wrong:
        given = " ".join(repr(wrong[0]).split())[:100]
        raise CheckpointError(f"callbacks: given {given} as a score of ModelCheckpoint; allowed: a number")
    best, scores = _text(state, "best_model_path"), state.get("best_k_models")
    if not isinstance(scores, dict):
        raise CheckpointError(f"callbacks: given {scores!r} as best_k_models of ModelCheckpoint; allowed: a dict")
    if Path(os.path.normpath(best)).is_relative_to(dirpath):
        best = own(best)
    elif best and moved == folder:
        # A fork's best checkpoint so far is its parent's.
        best = str(folder / Path(best).name)
    deleted = {key: own(state.get(key, "")) for key in ("kth_best_model_path", "last_model_path")}
    scores = {own(file): score for file, score in scores.items()}
    return state | deleted | {"dirpath": str(moved), "best_model_path": best, "best_k_models": scores}


def scores_of(state: dict[str, Any]) -> list[Any]:
    of_files = state.get("best_k_models")
    single = [state.get(key) for key in ("best_model_score", "current_score", "kth_value")]
    return [*single, *(of_files.values() if isinstance(of_files, dict) else [])]


def _text(state: dict[str, Any], key: str) -> str:
    given = state.get(key) or ""
    if not isinstance(given, str):
        raise CheckpointError(f"callbacks: given {given!r} as {key} of ModelCheckpoint; allowed: a path")
    return given
