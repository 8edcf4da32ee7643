"""A plain loop that does what the docs say of best checkpoints, early stopping and plateaus, and random settings."""

import math
from dataclasses import dataclass, field
from random import Random
from typing import Any


@dataclass(frozen=True)
class Settings:
    """One training; every score is drawn beforehand: of validation by batch, of training by epoch."""

    batches: int
    epochs: int
    accumulate: int
    check_val_every_n_epoch: int | None
    val_check_interval: int | float
    monitor: str
    mode: str
    save_top_k: int
    min_epochs: int
    patience: int
    min_delta: float
    plateau_patience: int
    frequency: int
    scores: tuple[float, ...] = field(repr=False)


def drawn(seed: int) -> Settings:
    random = Random(seed)
    batches, epochs = random.randint(1, 6), random.randint(1, 9)
    every = random.choice([1, 1, 2, 3, None])
    within = random.randint(1, batches) if every else random.randint(1, 2 * batches)
    return Settings(
        batches=batches,
        epochs=epochs,
        accumulate=random.choice([1, 1, 2]),
        check_val_every_n_epoch=every,
        val_check_interval=within if every is None else random.choice([1.0, 1.0, 0.5, within]),
        monitor=random.choice(["val/loss", "val/loss", "train/loss"]),
        mode=random.choice(["min", "max"]),
        save_top_k=random.choice([1, 2, 3, -1]),
        min_epochs=random.randint(0, 7),
        patience=random.randint(1, 4),
        min_delta=random.choice([0.0, 0.1]),
        plateau_patience=random.randint(0, 2),
        frequency=random.choice([1, 1, 2]),
        scores=tuple(random.random() for _ in range(batches * epochs + 1)),
    )


@dataclass
class Outcome:
    """Batches that were trained on when a checkpoint was saved, with their scores; where training ended; the rate."""

    kept: dict[int, float]
    best: int | None
    ended: int
    lr: float


class Reference:
    """What the docs say, one decision at a time."""

    def __init__(self, given: Settings):
        self.given = given
        self.sign = 1 if given.mode == "min" else -1
        self.kept: dict[int, float] = {}
        self.saved_step = 0
        self.lowest, self.wait = math.inf, 0
        self.plateau, self.bad, self.lr = math.inf, 0, 1.0

    def save(self, place: int, step: int, score: float) -> None:
        given, of = self.given, self.sign
        worst = max(self.kept, key=lambda each: of * self.kept[each], default=None)
        full = given.save_top_k > 0 and len(self.kept) == given.save_top_k
        if step == self.saved_step or (full and worst is not None and of * score >= of * self.kept[worst]):
            return
        if full and worst is not None:
            del self.kept[worst]
        self.kept[place], self.saved_step = score, step

    def stops(self, score: float, epochs_done: int) -> bool:
        value = self.sign * score
        if value < self.lowest - self.given.min_delta:
            self.lowest, self.wait = value, 0
            return False
        self.wait += 1
        return self.wait >= self.given.patience and epochs_done >= self.given.min_epochs

    def step_plateau(self, score: float, epoch: int) -> None:
        if (epoch + 1) % self.given.frequency:
            return
        value = self.sign * score
        self.bad = 0 if value < self.plateau else self.bad + 1
        self.plateau = min(self.plateau, value)
        if self.bad > self.given.plateau_patience:
            self.lr, self.bad = self.lr / 2, 0


def is_due(given: Settings, epoch: int, batch: int) -> bool:
    every, within = given.check_val_every_n_epoch, given.val_check_interval
    if every is None:
        return (epoch * given.batches + batch + 1) % within == 0
    number = within if isinstance(within, int) else max(1, int(given.batches * within))
    return (epoch + 1) % every == 0 and (batch + 1) % number == 0


def expected(given: Settings) -> Outcome:
    loop, place, step = Reference(given), 0, 0
    of_validation = given.monitor.startswith("val")
    for epoch in range(given.epochs):
        validated_at = None
        for batch in range(given.batches):
            place, is_last = place + 1, batch + 1 == given.batches
            step += is_last or (batch + 1) % given.accumulate == 0
            validated_at = place if is_due(given, epoch, batch) else validated_at
            if validated_at != place or is_last or not of_validation:
                continue
            loop.save(place, step, given.scores[place])
            # The schedule steps before the loop is asked whether to go on.
            stops = loop.stops(given.scores[place], epoch)
            loop.step_plateau(given.scores[place], epoch)
            if stops:
                return outcome(loop, place)
        if of_validation and validated_at != place:
            continue
        loop.save(place, step, given.scores[place])
        stops = loop.stops(given.scores[place], epoch + 1)
        loop.step_plateau(given.scores[place], epoch)
        if stops:
            break
    return outcome(loop, place)


def outcome(loop: Reference, place: int) -> Outcome:
    best: Any = min(loop.kept, key=lambda each: loop.sign * loop.kept[each], default=None)
    return Outcome(loop.kept, best, place, loop.lr)
