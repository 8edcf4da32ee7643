"""Serve a run or an exported model over HTTP: python serve.py run=logs/cnn/<run>"""

try:
    from omegaconf import DictConfig

    from kindling.cli.entry import entry
    from kindling.config.check.command_line import refuse
    from kindling.config.composition import to_plain
    from kindling.config.extras import optional_all
    from kindling.config.rules.run_rules import one_model_is_named
    from kindling.process.signals import not_swallowed
except ModuleNotFoundError as error:
    raise SystemExit(f"error: {error.name} is not installed; run `make setup` and use .venv/bin/python") from None


def main(cfg: DictConfig) -> None:
    refuse([*one_model_is_named(to_plain(cfg))])
    with not_swallowed():
        optional_all("serve")
        # FastAPI is loaded only now, and torch only for a checkpoint.
        from kindling.serve import serve

    serve(cfg)


if __name__ == "__main__":
    entry(__file__, main)
