"""The sweepers of a sweep with `sweep=` and without; Hydra imports each file here at each start, so nothing heavy."""

from collections.abc import Sequence
from typing import Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper

# Jobs that are composed before the first one runs; each further one is when its turn comes.
MOST_COMPOSED = 200


class KindlingSweeper(Sweeper):
    """Runs the trials of the sweep that the config's node `sweep` describes."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.context, self.task, self.composed = hydra_context, task_function, config

    def sweep(self, arguments: Sequence[str]) -> Any:
        from kindling.sweeps.sweep import Sweep

        loader = self.context.config_loader
        return Sweep(loader, self.context, self.task, prepare, self.composed, arguments).run()


def prepare() -> None:
    """Import once what all trials that are forked from this process need."""
    from kindling.process.cores import sleep_while_idle
    from kindling.process.start_and_end import importing

    sleep_while_idle()
    with importing():
        import torch

        import kindling.train  # noqa: F401
    # A process that has computed with several threads could not be forked.
    torch.set_num_threads(1)


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, which also runs the jobs behind one that fails, and shows at the end what came of all."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        super().validate_batch_is_legal(batch[:MOST_COMPOSED])

    def sweep(self, arguments: list[str]) -> Any:
        from kindling.process.cores import sleep_while_idle
        from kindling.sweeps.grid import naming_launcher, refuse_failed, show_jobs

        sleep_while_idle()
        jobs: list[Any] = []
        launcher: Any = self.launcher
        launch = launcher.launch

        def launch_all(*batch: Any, **first: Any) -> list[Any]:
            with naming_launcher(launcher):
                jobs.extend(launch(*batch, **first))
            # Of what it gets, Hydra raises the first failure.
            return []

        launcher.launch = launch_all
        super().sweep(arguments)
        show_jobs(jobs)
        refuse_failed(jobs)
        return [jobs]


# Hydra 1.4 asks whether that is meant; 1.3 knows no such question.
REPLACE: Any = {} if hydra.__version__.startswith("1.3.") else {"replace": True}

for name, node in (
    ("kindling", {"_target_": "hydra_plugins.kindling_sweeper.KindlingSweeper"}),
    # In the place of Hydra's own.
    ("basic", BasicSweeperConf(_target_="hydra_plugins.kindling_sweeper.GridSweeper")),
):
    ConfigStore.instance().store(group="hydra/sweeper", name=name, node=node, provider="kindling", **REPLACE)
