"""Settings that a node has from a file, and that the class which was asked for in place of the file's does not take."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, open_dict

from kindling.config.check.files import ConfigFiles
from kindling.config.check.keys import HYDRA_KEYS
from kindling.config.check.tree import Problem
from kindling.config.fault import Fault
from kindling.config.given import signature_of
from kindling.config.left_out import node_at, value

Merged = Sequence[tuple[str, str]]


class Former:
    """Leaves them out of the configs of a command line's jobs, and says which.

    Args:
        files: of the configs.
    """

    def __init__(self, files: ConfigFiles):
        self.files = files
        # Of each job: by node its class, and what this does not take.
        self._jobs: list[dict[str, tuple[str, list[str]]]] = []

    @property
    def lines(self) -> list[Fault]:
        """A warning for each node."""
        found = self._jobs[0] if self._jobs else {}
        return [
            Fault(path, f"{name}, which takes no {', '.join(keys)}; left out", warning=True)
            for path, (name, keys) in found.items()
        ]

    @property
    def overrides(self) -> list[str]:
        """What Hydra has to do likewise."""
        return [f"~{path}.{key}" for path, (_, keys) in (self._jobs or [{}])[0].items() for key in keys]

    def leave_out(
        self, config: DictConfig, problems: Iterable[Problem], merged: Callable[[], Merged], given: Sequence[str]
    ) -> bool:
        """Whether a job's config had some, which are taken out of it.

        Args:
            config: as it is composed.
            problems: of it.
            merged: gives the name and the package of each file, in the order of the merge.
            given: the keys that the command line sets.
        """
        found: dict[str, tuple[str, list[str]]] = {}
        paths = dict.fromkeys(each.untaken_by for each in problems if isinstance(each, Fault) and each.untaken_by)
        # To merge takes time, and few need it.
        files = merged() if paths else []
        for path in paths:
            target, node = value(config, f"{path}._target_"), node_at(config, path)
            keys = [key for key in _untaken(node, target) if self._is_former(path, key, files, given)]
            if keys:
                found[path] = str(target).rpartition(".")[2], keys
            with open_dict(config):
                for key in keys:
                    del node[key]
        self._jobs.append(found)
        return bool(found)

    def differing(self) -> Iterator[Fault]:
        """The nodes of which the jobs of a sweep leave out different settings: one command line serves them all."""
        for path in dict.fromkeys(path for found in self._jobs for path in found):
            each = {str(found.get(path)): found.get(path) for found in self._jobs}
            if len(each) > 1:
                names = ", ".join(name for name, _ in filter(None, each.values()))
                group = path.partition(".")[0]
                allowed = f"a file for each class, configs/{group}/NAME.yaml, and {group}=NAME,OTHER"
                yield Fault(f"{path}._target_", f"{names} in some jobs of a sweep, with settings of another", allowed)

    def _is_former(self, path: str, key: str, merged: Merged, given: Sequence[str]) -> bool:
        """Whether the file that sets a key names a class for its node, and the command line or a later file another."""
        whole, target = f"{path}.{key}", f"{path}._target_"
        if any(f"{each}.".startswith(f"{whole}.") for each in given):
            return False
        setters, naming = self.files.setters(whole, merged), self.files.setters(target, merged)
        if not setters or not naming:
            return False
        # What options of a group share lies in files of its own.
        is_beside = _group(setters[-1]) in map(_group, naming)
        return is_beside if target in given else setters[-1] in naming[:-1]


def _group(name: str) -> str:
    return name.rpartition("/")[0]


def _untaken(node: Any, target: object) -> list[str]:
    known = signature_of(target)
    if known is None or known.takes_more or not isinstance(node, DictConfig):
        return []
    return [str(key) for key in node if key not in known.annotations and key not in HYDRA_KEYS]
