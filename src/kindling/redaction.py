"""Keeps tokens, keys and passwords out of what a run folder and a checkpoint tell."""

import os
import re
from typing import Any

HIDDEN = "<redacted>"
_NAME = r"(?:api|access|private|secret|auth)[_-]?key|[\w-]*(?:token|secrets?|passwords?|passwd|credentials?)|[\w-]*_key"
_SECRET_KEY = re.compile(rf"^(?:.*[._-])?(?:{_NAME})$", re.IGNORECASE)
_ASSIGNMENT = re.compile(rf"""((?:{_NAME})["']?\s*[=:]\s*)(["']?)([^\s"',}}\]]+)\2""", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(://[^/\s:@]+:)[^/\s@]+@")
_WELL_KNOWN = re.compile(r"\b(?:hf_\w{20,}|gh[pousr]_\w{20,}|sk-[\w-]{20,}|AKIA[0-9A-Z]{16}|xox[abp]-[\w-]{10,})")


def redact_text(text: str) -> str:
    """A command line or a diff without secrets, which are known by their name, form or place in the environment."""
    for secret in _environment_secrets():
        text = text.replace(secret, HIDDEN)
    text = _ASSIGNMENT.sub(rf"\1\2{HIDDEN}\2", text)
    text = _URL_PASSWORD.sub(rf"\1{HIDDEN}@", text)
    return _WELL_KNOWN.sub(HIDDEN, text)


def redact_config(config: Any, key: str = "") -> Any:
    """A plain config without the values of keys such as `api_key` or `token`."""
    if isinstance(config, dict):
        return {name: redact_config(value, str(name)) for name, value in config.items()}
    if isinstance(config, list):
        return [redact_config(value, key) for value in config]
    if isinstance(config, str):
        return HIDDEN if _SECRET_KEY.match(key) else redact_text(config)
    return config


def _environment_secrets() -> list[str]:
    return [value for name, value in os.environ.items() if len(value) >= 8 and _SECRET_KEY.match(name)]
