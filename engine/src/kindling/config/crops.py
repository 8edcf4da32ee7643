"""What random crops of image files are cut from, by the config alone."""

from typing import Any

from kindling.config.plain import get

# From this version of decoding on, crops are cut from whole pictures.
OF_WHOLE_PICTURES = 4
# What data.in_memory called data.cache.
FORMER_CACHES = {True: "memory", False: "none", "auto": "auto"}
STORED = {"memory", "disk"}


def crops_differ(saved: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether other pixels are cut: stored pictures are resized before, and "auto" may be stored or not."""
    transform = get(given, "data.transform") or {}
    first = next(iter(transform.get("transforms") or [transform]), None) or {}
    is_random = str(first.get("_target_")).endswith(".RandomResizedCrop")
    caches = {FORMER_CACHES.get(get(each, "data.in_memory"), get(each, "data.cache")) for each in (saved, given)}
    is_whole = get(given, "data.decoding") == OF_WHOLE_PICTURES
    return is_whole and is_random and len(caches) > 1 and caches != STORED
