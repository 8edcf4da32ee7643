"""What a run logs, and which way it is better, read from the source of its task and of its metrics."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from kindling.config.fstrings import texts_given, written_out
from kindling.config.lineage import assigned, lineage
from kindling.config.plain import Config, get
from kindling.errors import ConfigError

ENGINE = __name__.partition(".")[0]
# What a plain task calls the loss of validation, the first that it logs.
LOSSES = ("val/loss", "val_loss", "valid_loss", "validation_loss", "val.loss")
LIGHTNING = ("lightning", "pytorch_lightning", "torch", "torchmetrics")
# Lightning logs these itself.
ALWAYS = ("epoch", "step")
# What a sweep may compare beside metrics: facts of run.json.
FACTS = ("parameters", "seconds")


class Logged(NamedTuple):
    """Names of what is logged, each with "min" or "max" where that is known; whether there may be others."""

    names: dict[str, str]
    may_log_more: bool


def logged(config: Config) -> Logged:
    """What a run of a plain config logs."""
    task = str(get(config, "task._target_"))
    declared = declared_by(task)
    own = written_by(task)
    known = dict.fromkeys(own.names, "")
    if declared is not None:
        metrics = {**declared, **{name: direction_of(target) for name, target in _metrics(config).items()}}
        known |= {f"{stage}/{name}": way for stage in ("val", "train") for name, way in metrics.items()}
        known["train/loss_step"] = "min"
    known = {name: way or way_by_name(name) for name, way in known.items()}
    callbacks = [written_by(target) for target in _further(get(config, "callbacks"))]
    known |= {name: "" for each in callbacks for name in each.names if name not in known}
    return Logged(known, own.may_log_more or any(each.may_log_more for each in callbacks))


def better(config: Config, monitor: str | None) -> str:
    """Which way the monitored metric is better; "min" of what is not logged, which has a fault of its own.

    Raises:
        ConfigError: its source does not say.
    """
    found = logged(config)
    name = without_loader(str(monitor))
    way = found.names.get(name) or way_by_name(name)
    if way or monitor is None or (name not in found.names and not found.may_log_more):
        return way or "min"
    raise ConfigError(
        f"monitor_mode: given nothing for {monitor}, of which no source says which way it is better; "
        "allowed: monitor_mode=min or monitor_mode=max"
    )


def way_by_name(name: str) -> str:
    """Less of a loss is better; of other names nothing is known."""
    return "min" if re.search(r"(^|[/_.])loss$", name) else ""


def without_loader(monitor: str) -> str:
    """A metric's name without what Lightning adds for one of several dataloaders."""
    return re.sub(r"/dataloader_idx_\d+$", "", monitor)


def loss_of(task: str) -> str | None:
    """The loss that a task logs in validation; None if its source does not say."""
    names = {"val/loss"} if declared_by(task) is not None else set(written_by(task).names)
    return next((name for name in LOSSES if name in names), None)


@cache
def declared_by(task: str) -> dict[str, str] | None:
    """METRICS of a task, with those of its base classes, and its loss; None if no class of them declares any."""
    found = [pairs for place in lineage(task) if (pairs := assigned(place.body, "METRICS")) is not None]
    if not found:
        return None
    return {"loss": "min"} | {name: way for node in reversed(found) for name, way in _pairs(node)}


@cache
def direction_of(metric: str) -> str:
    """Which way a torchmetrics class is better; "" if its source does not say."""
    for place in lineage(metric):
        node = assigned(place.body, "higher_is_better")
        if node is not None:
            value = node.value if isinstance(node, ast.Constant) else None
            return {True: "max", False: "min"}.get(value, "") if isinstance(value, bool) else ""
    return ""


@cache
def written_by(target: str) -> Logged:
    """The names that a class logs by `self.log("name", ...)`, or a callback by `pl_module.log`."""
    names: list[str] = []
    may_log_more = False
    for place in lineage(target):
        if not place.is_known:
            may_log_more = True
        functions = [each for each in place.body if isinstance(each, ast.FunctionDef)]
        for function in functions:
            found = _LoggedIn(function, texts_given(function, functions))
            names += found.names
            may_log_more = may_log_more or found.may_log_more
    return Logged(dict.fromkeys(names, ""), may_log_more)


def _metrics(config: Config) -> dict[str, str]:
    nodes = get(config, "metrics")
    found = nodes.items() if isinstance(nodes, dict) else ()
    return {str(name): str(node["_target_"]) for name, node in found if isinstance(node, dict) and "_target_" in node}


def _further(callbacks: Any) -> Iterator[str]:
    """The callbacks that are neither the engine's nor Lightning's."""
    for node in callbacks.values() if isinstance(callbacks, dict) else ():
        target = str(node.get("_target_", "")) if isinstance(node, dict) else ""
        if target and target.partition(".")[0] not in (ENGINE, *LIGHTNING):
            yield target


def _pairs(node: ast.expr) -> Iterator[tuple[str, str]]:
    """The literal pairs of a dict, or of several that are merged."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _pairs(node.left)
        yield from _pairs(node.right)
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                yield str(key.value), str(value.value)


class _LoggedIn(ast.NodeVisitor):
    """What a method logs; `may_log_more` if it names something by an expression, or gives its module away."""

    def __init__(self, function: ast.FunctionDef, texts: dict[str, set[str]]):
        self.names: list[str] = []
        self.texts = texts
        self.may_log_more = False
        arguments = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
        # Those that log: of a module itself, of a callback its module.
        self.modules = {*arguments[:1], *({"pl_module"} & set(arguments))}
        for statement in function.body:
            self.visit(statement)

    def visit_Call(self, node: ast.Call) -> None:
        if ast.unparse(node.func) in ("super", "isinstance", "type", "id"):
            return
        method = node.func.attr if isinstance(node.func, ast.Attribute) and self._is_module(node.func.value) else ""
        if method == "log":
            self._add(self._argument(node, "name"), node)
        elif method == "log_dict":
            given = self._argument(node, "dictionary")
            for key in given.keys if isinstance(given, ast.Dict) else [None]:
                self._add(key, node)
        elif not self._is_module(node.func):
            # `self(x)` is its forward pass.
            self.visit(node.func)
        for each in (*node.args, *node.keywords):
            self.visit(each)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not self._is_module(node.value):
            self.visit(node.value)
        elif node.attr in ("log", "log_dict"):
            self.may_log_more = True

    def visit_Name(self, node: ast.Name) -> None:
        if self._is_module(node):
            self.may_log_more = True

    def _is_module(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self.modules

    def _argument(self, node: ast.Call, name: str) -> ast.expr | None:
        named = next((each.value for each in node.keywords if each.arg == name), None)
        return node.args[0] if node.args else named

    def _add(self, name: ast.expr | None, node: ast.Call) -> None:
        names = written_out(name, self.texts)
        self.may_log_more = self.may_log_more or not names
        self.names += names
        if any(each.arg in ("on_step", "on_epoch") for each in node.keywords):
            self.names += [f"{each}{end}" for each in names for end in ("_step", "_epoch")]
