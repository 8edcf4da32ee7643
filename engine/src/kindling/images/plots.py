"""Pictures of images, and of a range test."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from kindling.data.confusion import shortened
from kindling.files.picture import save
from kindling.images.images import Images

NUM_MISTAKES = 36
# Mistakes in each row of the picture.
COLUMNS = 6
# Characters of a file name, and of two classes together, that are as wide as an image.
LONGEST_FILE, LONGEST_PAIR = 26, 17
# Points of a text above an image, and characters from which on it is the smaller one.
FONTS, LONG = (8, 7), 22
# Inches, for an image and the lines above it, and for the title.
CELL_SIZE, HEADER = (1.6, 1.9), 0.35


def plot_mistakes(
    images: Images, logits: Tensor, labels: Tensor, classes: list[str], num_mistakes: int = NUM_MISTAKES
) -> Figure:
    """The wrongly classified images of highest loss, each with its true and its predicted class, and its file."""
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    losses = losses.nan_to_num(torch.inf)
    losses[logits.argmax(1) == labels] = -1
    worst = [i for i in losses.argsort(descending=True)[:num_mistakes].tolist() if losses[i] >= 0]
    cells = []
    for index in worst:
        probability, predicted = logits[index].softmax(0).max(0)
        true, said = fitted(classes[labels[index]], classes[predicted])
        text = f"{true} → {said}  {probability:.2f}"
        file = f"\n{shortened(images.paths[index].name, LONGEST_FILE)}" if images.paths is not None else ""
        cells.append((images[index], text + file))
    return plot_grid(
        cells, "true → predicted, with its probability; the highest loss first" if worst else "no mistakes"
    )


def fitted(first: str, second: str) -> tuple[str, str]:
    """Two names that fit above an image together: the longer one is shortened, or both."""
    half = LONGEST_PAIR // 2
    first = shortened(first, max(half, LONGEST_PAIR - len(second)))
    return first, shortened(second, max(half, LONGEST_PAIR - len(first)))


def plot_grid(cells: Sequence[tuple[Tensor, str]], title: str, columns: int = COLUMNS) -> Figure:
    """Images (H, W, C) uint8, row by row, each below its text of one or two lines."""
    rows = max(1, -(-len(cells) // columns))
    width, height = CELL_SIZE[0] * columns, CELL_SIZE[1] * rows + HEADER
    figure = Figure(figsize=(width, height))
    figure.suptitle(title, parse_math=False)

    # Axes for each image would take five times longer.
    axes = figure.add_axes((0, 0, 1, 1 - HEADER / height), xlim=(0, columns), ylim=(rows, 0))
    axes.set_axis_off()
    for position, (image, text) in enumerate(cells):
        top, left = divmod(position, columns)
        place = (left + 0.05, left + 0.95, top + 0.95, top + 0.2)
        axes.imshow(drawable(image).numpy(), cmap="gray", vmin=0, vmax=255, extent=place, aspect="auto")
        # A $ in a name would start a formula.
        axes.text(
            left + 0.5,
            top + 0.17,
            text,
            ha="center",
            fontsize=FONTS["\n" in text or len(text) > LONG],
            parse_math=False,
        )
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    return figure


def drawable(image: Tensor) -> Tensor:
    """(H, W, C) -> (H, W, 3) or (H, W): the first channel, if there are neither one nor three."""
    return image if image.shape[-1] == 3 else image[..., 0]


def plot_rates(
    rates: list[float], losses: list[float], smooth: list[float], marked: dict[str, float], file: Path
) -> None:
    """Loss by learning rate, as it was and smoothed, with some rates marked by name."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color="0.7", linewidth=0.8, label="loss of the step")
    axes.plot(rates, smooth, color="0.2", linewidth=2, label="smoothed")
    for index, (name, rate) in enumerate(marked.items()):
        axes.axvline(rate, color=f"C{index}", linestyle="--", label=f"{name}: {rate:g}")
    # Losses that diverge would press the rest flat.
    highest = max(1.5 * max(losses[:10]), 1.05 * max(smooth))
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(0, highest))
    axes.legend()
    save(figure, file)
