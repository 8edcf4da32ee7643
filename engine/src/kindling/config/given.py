"""What the engine itself gives a task, beside the settings of its node."""

from kindling.config.lineage import defines, may_define
from kindling.config.signatures import Signature, TargetMissing, signature

# Arguments of a task by name, and the key of the config that each is made from; "" for the config itself.
GIVEN = {
    "net": "model",
    "optimizer": "optimizer",
    "scheduler": "scheduler",
    "layer_lr_decay": "layer_lr_decay",
    "mix": "mix",
    "metrics": "metrics",
    "config": "",
}


def taken_by(target: str) -> set[str]:
    """Those of GIVEN that the `__init__` of a class names, itself or through `**kwargs` that go on to its base.

    Of a class whose source does not say, and of one that is not there: none.
    """
    found = signature_of(target)
    return GIVEN.keys() & found.annotations.keys() if found else set()


def needed_by(target: str) -> set[str]:
    """Keys of the config that a task cannot do without: of what it requires, the optimizer that it takes, and data.

    A task that configures its optimizers itself needs none.
    """
    found = signature_of(target)
    # It may bring its own loaders.
    keys = set() if may_define(target, "train_dataloader") else {"data"}
    if found is None:
        return keys
    keys |= {GIVEN[name] for name in found.required & GIVEN.keys()}
    own = not defines(target, "configure_optimizers")
    return keys | ({"optimizer"} if "optimizer" in found.annotations and own else set())


def required_by(target: str) -> set[str]:
    """Those of GIVEN that have no default."""
    found = signature_of(target)
    return GIVEN.keys() & found.required if found else set()


def signature_of(target: object) -> Signature | None:
    """As `signature`; also None for what is not there, which is a fault of its own."""
    try:
        return signature(target) if isinstance(target, str) else None
    except (TargetMissing, SyntaxError):
        return None
