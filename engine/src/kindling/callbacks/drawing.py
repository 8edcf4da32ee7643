"""What the callbacks that draw into TensorBoard and trackers share."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from kindling.console import warn
from kindling.data.class_report import text_of
from kindling.errors import one_line
from kindling.lightning_internals.loops import logged_step
from kindling.training.observer import Observer

# The import would slow each start by 0.1 s.
if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardCallback(Observer):
    """Draws into every TensorBoardLogger of the trainer; pictures and tables into trackers too; without any, nothing.

    Args:
        every_n_epochs: between two drawings; None for as few as there can be.
    """

    def __init__(self, every_n_epochs: int | None = None):
        self.every_n_epochs = every_n_epochs
        self._has_failed = False
        self._is_left_out = False

    def attempt(self, draw: Callable[..., None], *arguments: Any) -> None:
        """Draw; what cannot be drawn is logged once, and costs no run."""
        if self._is_left_out:
            return
        try:
            draw(*arguments)
        except Exception as error:
            # Matplotlib and data unlike ours raise what they like.
            if not self._has_failed:
                warn(f"{type(self).__name__}: cannot draw: {one_line(error)}")
            self._has_failed = True

    def leave_out(self, trainer: Trainer, why: str) -> None:
        """Draw nothing of this run, and say so once."""
        if boards(trainer) and not self._is_left_out:
            warn(f"{type(self).__name__}: left out: {why}")
        self._is_left_out = True

    def ends_period(self, trainer: Trainer) -> bool:
        """Whether the current epoch is the last one of `every_n_epochs`."""
        return bool(self.every_n_epochs) and (trainer.current_epoch + 1) % self.every_n_epochs == 0


def tensorboards(trainer: Trainer) -> list[TensorBoardLogger]:
    """The same number in every process."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def boards(trainer: Trainer) -> list[Any]:
    """The loggers that take pictures and tables: TensorBoard and, by `log_picture`, trackers."""
    return [each for each in trainer.loggers if isinstance(each, TensorBoardLogger) or hasattr(each, "log_picture")]


def show(trainer: Trainer, tag: str, picture: "Tensor | Figure", step: int) -> None:
    """Give each board a picture: an image (C, H, W) uint8, or a figure; in the first process alone."""
    if not trainer.is_global_zero or not boards(trainer):
        return
    # The import would slow each start by 0.1 s.
    from torch.utils.tensorboard._utils import figure_to_image

    image = picture.numpy() if isinstance(picture, Tensor) else figure_to_image(picture)
    for logger in boards(trainer):
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(tag, image, step)
        else:
            logger.log_picture(tag, image.transpose(1, 2, 0), step)


def show_table(trainer: Trainer, tag: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
    """Give each board a table: TensorBoard as a text, trackers by `log_table`; in the first process alone."""
    for logger in boards(trainer) if trainer.is_global_zero else ():
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(tag, markdown(columns, rows), step)
        elif hasattr(logger, "log_table"):
            logger.log_table(tag, columns=list(columns), data=[list(row) for row in rows], step=step)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [columns, ["---"] * len(columns), *rows]
    # Else the name of a class could end its cell.
    texts = [[text_of(cell).replace("|", "&#124;") for cell in row] for row in cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in texts)


def writers(trainer: Trainer) -> "list[SummaryWriter]":
    """Of the TensorBoard loggers; none in any process but the first."""
    return [logger.experiment for logger in tensorboards(trainer)] if trainer.is_global_zero else []


def current_step(trainer: Trainer) -> int:
    """Of a batch or of a validation, as Lightning counts what it logs; one that is resumed from hides later ones."""
    return logged_step(trainer)
