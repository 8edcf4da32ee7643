"""Evaluate a run or a checkpoint: python evaluate.py run=logs/cnn/<run> split=test"""

from omegaconf import DictConfig

from kindling.config.entry import entry


def main(cfg: DictConfig) -> dict[str, float]:
    from kindling.evaluate import evaluate  # torch and Lightning are loaded only now

    return evaluate(cfg)


if __name__ == "__main__":
    entry("evaluate", main)
