"""What TensorBoard is told beyond curves: which of them share a chart, and what its HPARAMS compares."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from kindling.console import stage_of

# Of the layers, as <LAYERS>/<kind>/<layer>: sorted behind train and val, and one chart for all layers of a kind.
LAYERS = "watched"
Layout = dict[str, dict[str, list[Any]]]


class TensorBoardRun(TensorBoardLogger):
    """Lightning's logger that puts the training, validation and test of a metric into one chart of CUSTOM SCALARS."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._seen: set[str] = set()
        self._layout: Layout = {}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        super().log_metrics(dict(metrics), step)
        if metrics.keys() <= self._seen:
            return
        self._seen |= metrics.keys()
        layout = layout_of(self._seen)
        if layout != self._layout:
            # TensorBoard takes the newest.
            self._layout = layout
            self.experiment.add_custom_scalars(layout)


def layout_of(names: Iterable[str]) -> Layout:
    """A chart for each metric of an epoch that has stages, and one for all layers of each kind."""
    charts: dict[str, dict[str, list[Any]]] = defaultdict(dict)
    for name in sorted(names, key=lambda name: (stage_of(name)[1] != "loss", stage_of(name)[1])):
        stage, metric = stage_of(name)
        if name.startswith(f"{LAYERS}/"):
            kind = name.split("/")[1]
            charts["layers"][kind] = ["Multiline", [f"^{LAYERS}/{re.escape(kind)}/"]]
        elif stage and not metric.endswith("_step"):
            # TensorBoard reads expressions; a task may write val_loss.
            expression = rf"^(train|val|valid|validation|test)[/_.]{re.escape(metric)}$"
            charts["train, val and test"][metric] = ["Multiline", [expression]]
    return {title: charts[title] for title in ("train, val and test", "layers") if title in charts}


def log_settings(logger: TensorBoardLogger, settings: Mapping[str, Any]) -> None:
    """The settings of a run for HPARAMS, which puts those first that differ between runs.

    Lightning also writes which settings there are: TensorBoard then takes the first run's word, and compares nothing.
    """
    # The import would slow each start by 0.1 s.
    from torch.utils.tensorboard.summary import hparams

    plain = {
        key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in settings.items()
    }
    logger.hparams.update(plain)
    _, begun, ended = hparams(plain, {})
    for summary in (begun, ended):
        logger.experiment._get_file_writer().add_summary(summary)
