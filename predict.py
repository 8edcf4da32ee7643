"""Predict the classes of images: python predict.py run=logs/cnn/<run> input=photos output=predictions.csv"""

from omegaconf import DictConfig

from kindling.config.check import refuse
from kindling.config.composition import to_plain
from kindling.config.entry import entry
from kindling.config.predict_rules import faults
from kindling.process import importing


def main(cfg: DictConfig) -> None:
    refuse([*faults(to_plain(cfg))])
    with importing():
        from kindling.predict import predict  # torch and Lightning are loaded only now

    predict(cfg)


if __name__ == "__main__":
    entry("predict", main)
