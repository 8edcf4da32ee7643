"""What the engine itself gives a task, beside the settings of its node."""

from kindling.config.signatures import TargetMissing, signature

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
    try:
        found = signature(target)
    except (TargetMissing, SyntaxError):
        return set()
    return GIVEN.keys() & found.annotations.keys() if found else set()
