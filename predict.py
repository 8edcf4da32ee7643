"""Predict from images, rows or a prompt: python predict.py run=logs/cnn/<run> input=photos output=predictions.csv"""

try:
    from omegaconf import DictConfig

    from kindling.cli.entry import entry
    from kindling.config.check.command_line import refuse
    from kindling.config.composition import to_plain
    from kindling.inference.predicting.rules import faults
    from kindling.process.start_and_end import importing
except ModuleNotFoundError as error:
    raise SystemExit(f"error: {error.name} is not installed; run `make setup` and use .venv/bin/python") from None


def main(cfg: DictConfig) -> None:
    refuse([*faults(to_plain(cfg))])

    # torch and Lightning are loaded only now.
    with importing():
        from kindling.predict import predict

    predict(cfg)


if __name__ == "__main__":
    entry(__file__, main)
