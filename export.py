"""Export a trained model as a folder that other programs can use: python export.py run=logs/cnn/<run> format=onnx"""

try:
    from omegaconf import DictConfig

    from kindling.cli.entry import entry
    from kindling.config.check.command_line import refuse
    from kindling.config.composition import to_plain
    from kindling.config.rules.run_rules import one_checkpoint_is_named
    from kindling.process.start_and_end import importing
except ModuleNotFoundError as error:
    raise SystemExit(f"error: {error.name} is not installed; run `make setup` and use .venv/bin/python") from None


def main(cfg: DictConfig) -> dict[str, float]:
    refuse([*one_checkpoint_is_named(to_plain(cfg))])

    # torch and Lightning are loaded only now.
    with importing():
        from kindling.export import export

    return export(cfg)


if __name__ == "__main__":
    entry(__file__, main)
