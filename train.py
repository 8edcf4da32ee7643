"""Train a model and test its best checkpoint: python train.py experiment=cnn"""

try:
    from omegaconf import DictConfig

    from kindling.cli.entry import entry
    from kindling.process.start_and_end import importing
except ModuleNotFoundError as error:
    raise SystemExit(f"error: {error.name} is not installed; run `make setup` and use .venv/bin/python") from None


def main(cfg: DictConfig) -> float | None:
    from kindling.run_folders.lifecycle import recorded

    # run.json exists even if an import fails.
    with recorded(cfg):
        # torch and Lightning are loaded only now.
        with importing():
            from kindling.train import train

        # What a sweeper of Hydra's goes by.
        return train(cfg).get(cfg.monitor)


if __name__ == "__main__":
    entry(__file__, main)
