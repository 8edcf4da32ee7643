"""The benchmarks run and count what they say; what they measure is read by people."""

import json

import pytest

from long_run import some

pytestmark = [
    pytest.mark.usefixtures("scripts"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec"),
]


@pytest.fixture
def quick(scripts, monkeypatch):
    """Few steps and one round of each."""
    from benchmarks import data, loop, repeated, table

    def once(variants, rounds=1):
        return table.least(variants, rounds=1)

    monkeypatch.setattr(loop, "least", once)
    monkeypatch.setattr(data, "least", once)
    monkeypatch.setattr(repeated.Repeated.__init__, "__defaults__", (repeated.UNTIMED + repeated.WINDOW + 1,))
    random_images = loop.random_images
    monkeypatch.setattr(loop, "random_images", lambda num_images: random_images(num_images // 20))
    monkeypatch.setattr(data, "NUM_IMAGES", 4_200)
    monkeypatch.setattr(data, "NUM_THEIRS", 128)


@pytest.mark.parametrize("name", some(["step", "validation", "mlp", "cnn"], "step"))
def test_the_loop_is_measured_against_a_bare_one(quick, name):
    from benchmarks import loop

    rows = getattr(loop, name)()
    assert all(row.value > 0 for row in rows if row.unit in ("µs", "s", "images/s", "times"))
    assert [row for row in rows if row.bar]


@pytest.mark.slow
def test_batches_are_compared_with_equal_ones(quick):
    from benchmarks import data

    assert [row.bar for row in data.data() if row.bar] == [">= 50", ">= 18"]


@pytest.mark.needs("doctor")
@pytest.mark.slow
def test_the_callbacks_of_tensorboard_are_measured_within_a_whole_run(quick, monkeypatch):
    from benchmarks import tensorboard

    monkeypatch.setattr(tensorboard, "NUM_EPOCHS", 1)
    monkeypatch.setattr(tensorboard, "ROUNDS", 1)
    tiny = ["data=fake", "data.num_images=64", "trainer=cpu", "trainer.log_every_n_steps=1"]
    compose = tensorboard.compose
    monkeypatch.setattr(tensorboard, "compose", lambda overrides: compose([*overrides, *tiny]))
    seconds, *shares, total = tensorboard.tensorboard()
    assert seconds.value > 0
    assert [row.what for row in shares] == [
        f"callbacks.{name}" for name in [*tensorboard.CALLBACKS, *tensorboard.DEFAULT]
    ]
    assert min(row.value for row in shares if "histograms" not in row.what) > 0
    assert total.value == pytest.approx(sum(row.value for row in shares[: len(tensorboard.CALLBACKS)]))
    assert total.bar == "<= 3"


def test_a_batch_with_other_bits_is_told(quick, monkeypatch):
    from benchmarks import data

    monkeypatch.setattr(data.functional, "hflip", lambda image: image)
    with pytest.raises(AssertionError, match="differs from torchvision's"):
        data.data()


@pytest.mark.slow
def test_the_bare_loop_learns(quick, capsys):
    from benchmarks import bare

    bare.main()
    assert float(capsys.readouterr().out.split()[1]) > 0.5


def test_a_row_knows_whether_it_reached_its_bar(capsys):
    from benchmarks.table import Row, show

    show("x", [Row("a", 2.0, "s", "<= 3"), Row("b", 2.0, "times", ">= 3"), Row("c", 1.0)], as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert [row["reached"] for row in printed["rows"]] == [True, False, None]
    assert printed["machine"]


def test_each_variant_has_its_turn_and_the_least_counts():
    from benchmarks.table import least

    figures = {"a": iter([3.0, 1.0, 2.0]), "b": iter([4.0, 6.0, 5.0])}
    assert least({name: lambda name=name: next(figures[name]) for name in figures}, rounds=3) == {"a": 1.0, "b": 4.0}


def test_a_command_that_fails_is_no_measurement():
    from benchmarks import commands

    assert commands.wall("-c", "pass") > 0
    with pytest.raises(SystemExit, match="ended with 3"):
        commands.wall("-c", "raise SystemExit(3)")
    assert commands.peak_mebibytes("-c", "b'x' * 50_000_000") > 50
    with pytest.raises(SystemExit, match="ended with 0"):
        commands.until_instant("-c", "pass")


@pytest.mark.slow
def test_the_first_step_of_a_run_is_seen_from_outside(tmp_path):
    from benchmarks import commands

    tiny = [*commands.TINY, "callbacks=none", "logger=none", f"paths.logs={tmp_path}"]
    assert commands.until_instant("-c", commands.FIRST_STEP, *tiny) > 0


def test_the_defaults_of_the_benchmark_are_those_of_the_configs(tmp_path):
    from benchmarks.fitting import defaults
    from kindling.cli.entry import compose
    from kindling.train import instantiate_all

    cfg = compose([f"paths.logs={tmp_path}"])
    for name, group in (("callbacks", cfg.callbacks), ("logger", cfg.logger)):
        ours = [type(built) for built in instantiate_all(group, name)]
        assert sorted(map(str, ours)) == sorted(str(type(built)) for built in defaults(tmp_path)[name])


def test_a_profile_counts_builtin_functions_for_their_callers():
    from benchmarks import profiles

    stats = {
        ("site-packages/lightning/call.py", 1, "hook"): (1, 1, 2.0, 9.0, {}),
        ("src/kindling/images/metrics.py", 1, "update"): (1, 1, 1.0, 1.0, {}),
        ("~", 0, "<built-in isinstance>"): (
            3,
            3,
            3.0,
            3.0,
            {("site-packages/lightning/call.py", 1, "hook"): (3, 3, 3.0, 3.0)},
        ),
        ("~", 0, "<built-in torch._C.linear>"): (
            1,
            1,
            4.0,
            4.0,
            {("src/kindling/images/metrics.py", 1, "update"): (1, 1, 4.0, 4.0)},
        ),
    }
    seconds = profiles.by_package(type("Stats", (), {"stats": stats})())
    assert seconds == {"lightning": 5.0, "kindling": 1.0, "torch, compiled": 4.0}
    assert [row.value for row in profiles.shares("x", seconds)] == [50.0, 40.0, 10.0]


@pytest.mark.needs("debug")
@pytest.mark.slow
@pytest.mark.usefixtures("scripts")
def test_what_techniques_save_or_cost_is_measured(monkeypatch):
    from benchmarks import techniques

    monkeypatch.setattr(techniques, "MODELS", ("cnn", "vit"))
    monkeypatch.setattr(techniques, "DATA", "patterns")
    monkeypatch.setattr(techniques, "BATCH_SIZE", 2)
    monkeypatch.setattr(techniques, "NUM_BATCHES", 1)
    rows = {row.what: row for row in techniques.techniques()}
    kept = [row.value for what, row in rows.items() if "kept for backward" in what]
    assert len(kept) == 2
    assert max(kept) < 0.5
    assert rows["transform=trivial"].value < rows["transform=null"].value
    assert {row.unit for row in rows.values()} == {"times", "images/s", "ms a batch"}


@pytest.mark.slow
def test_the_cost_of_a_look_at_the_layers_is_measured(quick, monkeypatch):
    from benchmarks import monitor

    monkeypatch.setattr(monitor, "NUM_EPOCHS", 1)
    quiet, look, whole = monitor.monitor()
    assert 0 < quiet.value < 1e3 * look.value
    assert 0 < whole.value < 100


@pytest.mark.needs("debug")
@pytest.mark.slow
@pytest.mark.usefixtures("scripts")
def test_a_suggested_rate_is_compared_with_the_best_of_a_grid(monkeypatch):
    from benchmarks import finder

    monkeypatch.setattr(finder, "RECIPES", ("cnn",))
    monkeypatch.setattr(finder, "RATES", (0.0001, 0.01))
    monkeypatch.setattr(finder, "GRID", (*finder.GRID, "trainer.max_epochs=1"))
    low, high, suggested, factor = finder.finder()
    assert high.value < low.value
    assert factor.value == pytest.approx(max(suggested.value / 0.01, 0.01 / suggested.value))


@pytest.mark.needs("exporting")
@pytest.mark.slow
@pytest.mark.usefixtures("scripts")
def test_exported_models_are_compared_with_pytorch(monkeypatch):
    from benchmarks import export

    monkeypatch.setattr(export, "MODELS", ("cnn",))
    monkeypatch.setattr(export, "FILES", {name: export.FILES[name] for name in ("onnx", "int8")})
    monkeypatch.setattr(export, "SETTINGS", ("data=patterns", *export.SETTINGS[1:]))
    rows = {row.what.partition(" against")[0]: row for row in export.export()}
    assert rows["cnn, onnx: largest difference of a logit"].reached
    assert rows["cnn, int8: accuracy lost"].reached
    assert rows["cnn, int8: file"].value < 0.5 < rows["cnn, onnx: file"].value
    assert rows["cnn, onnx: batch 1"].bar == ">= 2"


@pytest.mark.slow
def test_what_a_second_process_costs_is_measured(scripts, monkeypatch):
    from benchmarks import ranks

    tiny = ("model.dim=8", "model.depth=1", "data.num_images=256", "trainer.max_epochs=2")
    monkeypatch.setattr(ranks, "SETTINGS", (*ranks.SETTINGS, *tiny))
    monkeypatch.setattr(ranks, "ROUNDS", 1)
    rows = {row.what: row for row in ranks.ranks()}
    assert all(row.value > 0 for row in rows.values() if row.unit)
    assert rows["memory of two processes"].value > 1.2 * rows["memory of one process"].value
    assert rows["gradients that each process sends and gets in a step"].value < 0.1
