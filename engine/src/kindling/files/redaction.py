"""Keeps tokens, keys and passwords out of run folders and checkpoints."""

import os
import re
import shlex
from functools import cache
from typing import Any

HIDDEN = "<redacted>"
# The shell's folders, whose names look like passwords.
FOLDERS = ("PWD", "OLDPWD")
_NAMES = r"[\w-]*(?:token|secrets?|passw(?:or)?ds?|passphrase|credentials?|_keys?|apikeys?|authorization|bearer)|pwd"
_SECRET_KEY = re.compile(rf"^(?:.*[./@+])?(?:{_NAMES})$", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    rf"""((?:\b|_)(?:{_NAMES})["']?\s*[=:]\s*)(?!null\b|None\b).+$""", re.IGNORECASE | re.MULTILINE
)
_URL_PASSWORD = re.compile(r"(://[^/\s:@]+:)[^/\s@]+@")
_WELL_KNOWN = re.compile(r"\b(?:hf_\w{20,}|gh[pousr]_\w{20,}|sk-[\w-]{20,}|AKIA[0-9A-Z]{16}|xox[abp]-[\w-]{10,})")


def redact_text(text: str) -> str:
    """A diff or a message without secrets; what is assigned to a secret's name is hidden to the end of the line."""
    return _known_by_value(_ASSIGNMENT.sub(rf"\1{HIDDEN}", text))


def redact_command(arguments: list[str]) -> str:
    """A command line that a shell would split into the same arguments, but for the secrets."""
    redacted = []
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        redacted.append(f"{key}={HIDDEN}" if equals and _is_secret(key) else redact_text(argument))
    return shlex.join(redacted)


def redact_config(config: Any, key: str = "") -> Any:
    """A plain config without what stands under keys such as `api_key` or `token`."""
    if config is not None and _is_secret(key):
        return HIDDEN
    if isinstance(config, dict):
        return {name: redact_config(value, str(name)) for name, value in config.items()}
    if isinstance(config, list):
        return [redact_config(value) for value in config]
    return _known_by_value(config) if isinstance(config, str) and key != "_target_" else config


@cache
def _is_secret(name: str) -> bool:
    return _SECRET_KEY.match(name) is not None


def _known_by_value(text: str) -> str:
    """Without passwords in addresses, tokens of well-known forms, and secrets of the environment."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _is_secret(name) and name not in FOLDERS:
            text = text.replace(value, HIDDEN)
    return _WELL_KNOWN.sub(HIDDEN, _URL_PASSWORD.sub(rf"\1{HIDDEN}@", text))
