"""What simpler methods reach on the splits of experiment=diabetes and experiment=gpt: ridge, and n-grams.

python scripts/references.py prints each with its setting, chosen on validation, and its error on test.
"""

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kindling.cli.entry import compose
from kindling.config import project
from kindling.config.composition import instantiate

project.use(Path(__file__).parents[1])

ALPHAS = (0.1, 1, 3, 10, 30, 100, 300)
ORDERS = range(3, 9)


# --- ridge


def ridge() -> str:
    """The penalty with the least RMSE on validation, and its RMSE on test."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    splits = instantiate(compose(["experiment=diabetes"]).data, "data").splits
    fits = {alpha: make_pipeline(StandardScaler(), Ridge(alpha)).fit(*as_arrays(splits.train)) for alpha in ALPHAS}
    alpha = min(ALPHAS, key=lambda each: rmse(fits[each].predict, *as_arrays(splits.val)))
    return f"ridge, alpha {alpha}: test rmse {rmse(fits[alpha].predict, *as_arrays(splits.test)):.2f}"


def as_arrays(split: tuple) -> tuple[np.ndarray, np.ndarray]:
    features, targets = split
    return features.numpy().astype(np.float64), targets.numpy()


def rmse(predict: Callable, features: np.ndarray, targets: np.ndarray) -> float:
    return float(np.sqrt(np.mean((predict(features) - targets) ** 2)))


# --- n-grams


class KneserNey:
    """Interpolated Kneser-Ney: each order takes a discount from what it saw and gives it to the order below.

    After Chen and Goodman (https://doi.org/10.1006/csla.1999.0128), with one discount an order. Orders below the
    highest count in how many contexts a character was seen.
    """

    def __init__(self, text: str, order: int, vocab_size: int):
        self.order, self.vocab_size = order, vocab_size
        grams = Counter(text[i : i + order] for i in range(len(text) - order + 1))
        self.levels: list[tuple[dict[str, tuple[Counter[str], int]], float]] = []
        for _ in range(order):
            self.levels.insert(0, (by_context(grams), discount(grams)))
            grams = Counter(gram[1:] for gram in grams)

    def probability(self, context: str, character: str) -> float:
        share = 1 / self.vocab_size
        for length, (seen, less) in enumerate(self.levels):
            if length > len(context):
                break
            found = seen.get(context[len(context) - length :])
            if found is None:
                break
            followers, total = found
            share = (max(followers[character] - less, 0) + less * len(followers) * share) / total
        return share

    def nats(self, text: str) -> float:
        """The mean over all characters of a text but its first, which the GPT is not asked for either."""
        contexts = ((text[max(0, i - self.order + 1) : i], text[i]) for i in range(1, len(text)))
        return -math.fsum(math.log(self.probability(*each)) for each in contexts) / (len(text) - 1)


def by_context(grams: Counter[str]) -> dict[str, tuple[Counter[str], int]]:
    """How often each character followed each context, and the sum."""
    followers: dict[str, Counter[str]] = defaultdict(Counter)
    for gram, count in grams.items():
        followers[gram[:-1]][gram[-1]] += count
    return {context: (counts, counts.total()) for context, counts in followers.items()}


def discount(grams: Counter[str]) -> float:
    """Ney's estimate, from what was seen once and twice."""
    counts = Counter(grams.values())
    return counts[1] / (counts[1] + 2 * counts[2]) if counts[1] else 0.5


def ngram() -> str:
    """The order with the least nats a character on validation, and its nats on test."""
    data = instantiate(compose(["experiment=gpt"]).data, "data")
    text, vocab_size = data.text, data.facts["vocab_size"]
    first, second = len(text) * 8 // 10, len(text) * 9 // 10
    models = [KneserNey(text[:first], order, vocab_size) for order in ORDERS]
    best = min(models, key=lambda model: model.nats(text[first:second]))
    return f"{best.order}-grams, Kneser-Ney: test {best.nats(text[second:]):.3f} nats a character"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(ridge())
    print(ngram())
