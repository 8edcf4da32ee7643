"""Overrides that Hydra's grammar refuses, and what was most likely meant."""

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

from kindling.config.fault import Fault, nearest

CLOSING = {"[": "]", "{": "}", "(": ")"}
OPENING = "\"'[{("
FUNCTIONS = ("choice", "range", "interval", "glob", "shuffle", "sort", "tag", "int", "float", "str", "bool")
TAKE = {
    "interval": "interval(smaller, larger), of numbers",
    "range": "range(first, last), of numbers",
    "choice": "choice(a, b, ...), of values such as null and [8]",
    "shuffle": "shuffle(a, b, ...), of values",
    "sort": "sort(a, b, ...), of numbers alone or texts alone",
    "tag": "tag(log, interval(smaller, larger))",
    "glob": "glob(*), or the beginning of names, such as glob(mlp*)",
    "int": "int(...) of numbers, or of an interval or a range of them",
    "float": "float(...) of numbers, or of an interval or a range of them",
    "str": "str(...) of values; an interval or a range has none",
    "bool": "bool(...) of values; an interval or a range has none",
}
# As other libraries name them.
FORMER = {
    "uniform": "interval({})",
    "loguniform": "tag(log,interval({}))",
    "log_uniform": "tag(log,interval({}))",
    "randint": "int(interval({}))",
    "log": "tag(log,{})",
}
EXAMPLE = "key=value, such as optimizer.lr=0.01"
Parse = Callable[[str], Any]


def joined(lines: Sequence[str], keys: Collection[str]) -> list[str]:
    """Arguments, with a key and a value of which a blank has made two as one, such as "data.batch_size: 3"."""
    found: list[str] = []
    for line in lines:
        before = found[-1] if found else ""
        key = before.lstrip("+").rstrip(":")
        is_key = re.fullmatch(r"[a-zA-Z]\w*(\.\w+)+", key) or key in keys
        if is_key and "=" not in line and not line.startswith("~"):
            found[-1] = f"{before} {line}"
        else:
            found.append(line)
    return found


def explain(line: str, reason: str, parse: Parse, keys: Iterable[str]) -> Fault:
    """What is wrong with an override that `parse` refuses for a reason of its own."""
    key, equals, value = line.partition("=")
    if not equals:
        return _without_value(line, keys)
    if not key.lstrip("+~") or not re.fullmatch(r"[+~]{0,2}[\w$/@-]+(\.[\w$-]+)*", key, re.ASCII):
        meant = re.sub(r"\.+", ".", key.strip().strip(".").replace(" ", ""))
        return Fault(line, f"the key {key!r}", EXAMPLE, f"{meant}={value.strip()}" if meant else "")
    unbalanced = _unbalanced(value)
    if unbalanced:
        return Fault(key, value, unbalanced, "" if value[0] in OPENING else quoted(key, value, parse))
    unknown = re.search(r"Unknown function '(\w+)'", reason)
    if unknown:
        former = re.fullmatch(r"(\w+)\((.*)\)", value)
        near = nearest(unknown[1], FUNCTIONS)
        meant = value.replace(unknown[1], near, 1) if near else ""
        if former and former[1] in FORMER:
            meant = FORMER[former[1]].format(former[2])
        return Fault(key, value, f"the functions {', '.join(FUNCTIONS)}, or a quoted text", meant and f"{key}={meant}")
    function = re.match(r"\w+(?=\()", value)
    if function and function[0] in TAKE:
        return Fault(key, value, TAKE[function[0]])
    if function:
        return Fault(key, value, f"{' '.join(reason.partition(': ')[2].split()) or reason}")
    if re.search(r",\s*(,|$)", value):
        meant = ",".join(each.strip() for each in value.split(",") if each.strip())
        return Fault(key, value, "a value on both sides of each comma", meant and f"{key}={meant}")
    return Fault(key, value, "letters, digits and / - \\ + . $ % * @ ? | : without a quote", quoted(key, value, parse))


def quoted(key: str, value: str, parse: Parse) -> str:
    """The override as a shell has to be given it, so that Hydra takes the value as it is; "" if there is none."""
    # The shell's own quote has to be the other one.
    for inner in ('"', "'") if "$" in value else ("'", '"'):
        line = f"{key}={inner}{value.replace(inner, chr(92) + inner)}{inner}"
        with suppress(HydraException):
            if parse(line).value() == value:
                return shlex.quote(line) if re.search(r'["$`!]', line) else f'"{line}"'
    return ""


def _without_value(line: str, keys: Iterable[str]) -> Fault:
    separated = re.fullmatch(r"([+\w.]+)[:\s]+(\S+)", line)
    if separated:
        return Fault(line, "no =", EXAMPLE, f"{separated[1]}={separated[2]}")
    if (Path(line) / "run.json").is_file():
        return Fault(line, "a run without its key", "a key before it, such as resume= or run=", f"resume={line}")
    key = line.rstrip(":")
    near = key if key in keys or re.fullmatch(r"[a-zA-Z_]\w*(\.\w+)+", key) else nearest(key, keys)
    return Fault(line, "no =", EXAMPLE, f"{near}=..." if near else "")


def _unbalanced(value: str) -> str:
    """Which quote or bracket of a value has no partner; "" if all have."""
    opened: list[str] = []
    quote = ""
    for before, char in zip(f" {value}", value, strict=False):
        if quote:
            quote = "" if char == quote and before != "\\" else quote
        elif char in "'\"" and before != "\\":
            quote = char
        elif char in CLOSING:
            opened.append(char)
        elif char in CLOSING.values() and (not opened or CLOSING[opened.pop()] != char):
            return f"a bracket {char} only after the one that opens it"
    if quote:
        return f"the quote {quote} closed by another"
    return f"the bracket {opened[-1]} closed by {CLOSING[opened[-1]]}" if opened else ""
