"""Weights that another program has saved: a state_dict, alone or with more, in a file of torch or of safetensors."""

from itertools import product
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from kindling.checkpoints.checkpoint import read
from kindling.checkpoints.pretrained import refuse_other_kinds
from kindling.checkpoints.safetensors import SUFFIX, read_safetensors
from kindling.console import report, warn
from kindling.errors import CheckpointError

# Under which a state_dict stands beside an optimizer's.
WITHIN = ("state_dict", "model_state_dict", "model")
# What a wrapper or a LightningModule puts before the names of its net.
PREFIXES = ("", "net.", "model.", "module.")
# torch.compile puts it in anywhere.
COMPILED = "_orig_mod."
# Names that are told.
NUM_NAMES = 5


def read_foreign(path: Path) -> dict[str, Tensor] | None:
    """The weights of a file that `train.py` has not written; None if it has.

    Raises:
        CheckpointError: it is damaged, or holds no weights.
    """
    saved: Any = read_safetensors(path) if path.suffix == SUFFIX else read(path)
    if isinstance(saved, dict) and "description" in saved:
        return None
    found = (
        next((saved[key] for key in WITHIN if isinstance(saved.get(key), dict)), saved)
        if isinstance(saved, dict)
        else {}
    )
    weights = {str(key).replace(COMPILED, ""): each for key, each in found.items() if isinstance(each, Tensor)}
    if not weights:
        raise CheckpointError(
            f"given {path}, which holds no weights; allowed: a checkpoint of train.py, a state_dict, one under "
            f"{', '.join(WITHIN)}, or safetensors"
        )
    return weights


def load_foreign(net: nn.Module, weights: dict[str, Tensor], path: Path, *, whole: bool) -> None:
    """Load what fits by name and shape, and say what does not.

    Args:
        net: to be given the weights.
        weights: by name, perhaps behind a prefix.
        path: of their file.
        whole: whether all of the net's must be there.

    Raises:
        CheckpointError: nothing fits, or not all where it must.
    """
    own = {name: each for name, each in net.state_dict().items() if isinstance(each, Tensor)}
    prefixes = {first + second for first, second in product(PREFIXES, PREFIXES)}
    fitting = max((_fitting(own, weights, *each) for each in product(prefixes, prefixes)), key=len)
    missing = [name for name in own if name not in fitting]
    surplus = [name for name in weights if name not in {*fitting.values()}]
    told = f"{len(fitting)} of the net's {len(own)} tensors fit{_named('missing', missing)}"
    told += _named("left over", surplus)
    if not fitting or (whole and missing):
        raise CheckpointError(f"given {path}, of another model ({told}); allowed: weights of this one")
    given = {name: weights[other] for name, other in fitting.items()}
    refuse_other_kinds(net, given, path)
    net.load_state_dict(given, strict=False)
    if missing:
        warn(f"weights: {told}; what is missing begins as it is initialised")
    else:
        report("weights: %s", told)


def _fitting(own: dict[str, Tensor], given: dict[str, Tensor], own_prefix: str, prefix: str) -> dict[str, str]:
    """The names in the file of the net's tensors, where both have these prefixes."""
    others = {name: prefix + name.removeprefix(own_prefix) for name in own if name.startswith(own_prefix)}
    fitting = {name: each for name, each in others.items() if each in given and _fits(own[name], given[each])}
    # Tied weights may be saved under one name.
    saved = {_place(own[name]): each for name, each in fitting.items()}
    return {name: saved[_place(each)] for name, each in own.items() if _place(each) in saved} | fitting


def _fits(own: Tensor, given: Tensor) -> bool:
    return is_lazy(own) or own.shape == given.shape


def _place(tensor: Tensor) -> Any:
    """Where its numbers are, which tied weights share."""
    has_none = is_lazy(tensor) or not tensor.data_ptr()
    return id(tensor) if has_none else (tensor.data_ptr(), tensor.shape, tensor.stride())


def _named(what: str, names: list[str]) -> str:
    return f"; {len(names)} {what}: {named(names)}" if names else ""


def named(names: list[str]) -> str:
    """The first of them."""
    return ", ".join(names[:NUM_NAMES]) + ", ..." * (len(names) > NUM_NAMES)


def warn_of_no_numbers(module: nn.Module, path: Path) -> None:
    """Buffers may be infinite, as masks are."""
    given = {name: each for name, each in module.named_parameters() if not is_lazy(each) and each.is_floating_point()}
    counts = {name: each.numel() - int(each.isfinite().sum()) for name, each in given.items()}
    bad = [name for name, count in counts.items() if count]
    if bad:
        total = sum(each.numel() for each in given.values())
        warn(
            f"weights: {sum(counts.values()):,} of {total:,} values are NaN or infinite, in {named(bad)}; "
            f"give another file than {path}"
        )
