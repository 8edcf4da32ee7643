"""Pictures of images, and of a range test."""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from kindling.files.picture import save
from kindling.images.images import Images

NUM_MISTAKES = 36
# Mistakes in each row of the picture.
COLUMNS = 6
# Inches, for a mistake and the line above it.
CELL_SIZE = (1.6, 1.9)


def plot_mistakes(
    images: Images, logits: Tensor, labels: Tensor, classes: list[str], num_mistakes: int = NUM_MISTAKES
) -> Figure:
    """The wrongly classified images of highest loss, each with its true and its predicted class."""
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    losses = losses.nan_to_num(torch.inf)
    losses[logits.argmax(1) == labels] = -1
    worst = [i for i in losses.argsort(descending=True)[:num_mistakes].tolist() if losses[i] >= 0]
    rows = max(1, -(-len(worst) // COLUMNS))
    width, height = CELL_SIZE[0] * COLUMNS, CELL_SIZE[1] * rows + 0.6
    figure = Figure(figsize=(width, height))
    figure.suptitle("true → predicted, with the probability it gave" if worst else "no mistakes")

    # Axes for each image would take five times longer.
    axes = figure.add_axes((0, 0, 1, 1 - 0.6 / height), xlim=(0, COLUMNS), ylim=(rows, 0))
    axes.set_axis_off()
    for position, index in enumerate(worst):
        top, left = divmod(position, COLUMNS)
        place = (left + 0.05, left + 0.95, top + 0.95, top + 0.2)
        axes.imshow(drawable(images[index]).numpy(), cmap="gray", vmin=0, vmax=255, extent=place, aspect="auto")
        probability, predicted = logits[index].softmax(0).max(0)
        text = f"{classes[labels[index]]} → {classes[predicted]}  {probability:.2f}"
        # A $ in a name would start a formula.
        axes.text(left + 0.5, top + 0.15, text, ha="center", fontsize=8, parse_math=False)
    axes.set(xlim=(0, COLUMNS), ylim=(rows, 0))
    return figure


def drawable(image: Tensor) -> Tensor:
    """(H, W, C) -> (H, W, 3) or (H, W): the first channel, if there are neither one nor three."""
    return image if image.shape[-1] == 3 else image[..., 0]


def plot_rates(rates: list[float], losses: list[float], marked: dict[str, float], file: Path) -> None:
    """Loss by learning rate, with some rates marked by name."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color="0.3", linewidth=1)
    for index, (name, rate) in enumerate(marked.items()):
        axes.axvline(rate, color=f"C{index}", linestyle="--", label=f"{name}: {rate:g}")
    # Losses that diverge would press the rest flat.
    highest = 1.5 * max(losses[:10])
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss of the step", ylim=(0, highest))
    axes.legend()
    save(figure, file)
