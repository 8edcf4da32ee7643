"""Train a model and test its best checkpoint: python train.py experiment=cnn"""

from omegaconf import DictConfig

from kindling.config.entry import entry
from kindling.process import importing


def main(cfg: DictConfig) -> dict[str, float]:
    from kindling.run_folder import recorded

    with recorded(cfg):  # run.json tells the story even if an import fails
        with importing():
            from kindling.train import train  # torch and Lightning are loaded only now

        return train(cfg)


if __name__ == "__main__":
    entry("train", main)
