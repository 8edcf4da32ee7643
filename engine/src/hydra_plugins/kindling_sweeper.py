"""The sweeper of `sweep=grid`, `random` and `optuna`; Hydra imports each file here at each start, so nothing heavy."""

from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper


class KindlingSweeper(Sweeper):
    """Runs the trials of the sweep that the config's node `sweep` describes."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.context, self.task, self.composed = hydra_context, task_function, config

    def sweep(self, arguments: Sequence[str]) -> Any:
        from kindling.sweeps.sweep import Sweep

        return Sweep(self.context.config_loader, self.context, self.task, self.composed, arguments).run(_load)


def _load() -> None:
    from kindling.process.start_and_end import importing

    with importing():
        import torch

        import kindling.train  # noqa: F401
    # A process that has computed with several threads could not be forked.
    torch.set_num_threads(1)


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="kindling",
    node={"_target_": "hydra_plugins.kindling_sweeper.KindlingSweeper"},
    provider="kindling",
)
