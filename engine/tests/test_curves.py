"""What curves.png shows, and of which runs it is drawn; most tests draw none, as that costs half a second."""

import json
import logging

import pytest

import kindling.run_folders.curves as module
from kindling.errors import ConfigError, Interrupted
from kindling.run_folders.curves import MAX_PANELS, panels_of, plot_curves, read_curves
from kindling.run_folders.lifecycle import recorded
from kindling.testing.quick import draw_curves

ROWS = """step,epoch,lr-Adam/pg1,lr-Adam/pg2,test/loss,train/loss,train/loss_step,val/loss,val/f1,norm
0,,0.1,0.1,,,,,,3
9,0,,,,0.9,0.8,0.7,0.2,nan
10,,0.2,0.2,,,,,,2
19,1,,,,0.5,0.4,0.6,0.3,
29,2,,,,0.3,inf,0.8,0.1,
30,3,,,0.65,,,,,
"""
BEST = {"monitor": "val/loss", "score": 0.6, "epoch": 1}


@pytest.fixture
def folder(tmp_path):
    run = tmp_path / "$cnn$" / "run"
    run.mkdir(parents=True)
    (run / "metrics.csv").write_text(ROWS)
    return run


def lines_of(axes) -> dict[str, list[tuple[float, float]]]:
    """The points of each line by the metric that it is of, without those that mark the best."""
    lines = {str(line.get_label()).split()[0]: line for line in axes.lines}
    return {name: list(map(tuple, line.get_xydata())) for name, line in lines.items() if "/" in name or name == "norm"}


def last_word(axes) -> str:
    return axes.get_legend().get_texts()[-1].get_text()


def test_train_val_and_test_of_a_metric_share_a_panel_and_equal_rates_a_line(folder):
    panels = plot_curves(read_curves(folder), {"status": "finished", "best": BEST}, "$cnn$").axes
    assert [axes.get_title() for axes in panels] == ["loss", "f1", "learning rate", "norm"]
    loss, f1, rate, norm = map(lines_of, panels)
    assert loss == {
        "train/loss": [(9, 0.9), (19, 0.5), (29, 0.3)],
        "train/loss_step": [(9, 0.8), (19, 0.4)],
        "val/loss": [(9, 0.7), (19, 0.6), (29, 0.8)],
        "test/loss": [(30, 0.65)],
    }
    assert f1 == {"val/f1": [(9, 0.2), (19, 0.3), (29, 0.1)]}
    assert rate == {"lr-Adam/pg1": [(0, 0.1), (10, 0.2)]}
    assert norm == {"norm": [(0, 3), (10, 2)]}, "NaN is no point"


def test_the_best_epoch_is_marked_in_each_panel_and_named_in_that_of_its_metric(folder):
    panels = plot_curves(read_curves(folder), {"status": "finished", "best": BEST}, "run").axes
    for axes in panels:
        assert any(line.get_linestyle() == "--" and list(line.get_xdata()) == [19, 19] for line in axes.lines)
    assert last_word(panels[0]) == "best: val/loss 0.6 in epoch 1", "counted from 0, as on the terminal"
    settings = {"monitor": "val/f1", "monitor_mode": "max"}
    cut = plot_curves(read_curves(folder), {"status": "interrupted", "best": None, "settings": settings}, "run").axes
    assert last_word(cut[1]) == "best: val/f1 0.3"
    without = plot_curves(read_curves(folder), {"status": "failed"}, "run").axes
    assert not any(line.get_linestyle() == "--" for line in without[0].lines)


def test_more_panels_than_fit_are_counted():
    curves = {f"val/metric{i:02}": [(0, 1.0), (1, 2.0)] for i in range(MAX_PANELS + 2)} | {"train/loss": [(0, 1.0)]}
    assert next(iter(panels_of(curves))) == "loss"
    figure = plot_curves(curves, {"status": "interrupted"}, "run")
    assert figure.get_suptitle() == "run: interrupted; 3 further metrics are in metrics.csv"


@pytest.fixture
def drawn(monkeypatch):
    """The status that run.json has of each run when its curves are drawn."""
    found = []
    monkeypatch.setattr(
        module, "draw", lambda folder: found.append(json.loads((folder / "run.json").read_text())["status"])
    )
    return found


def test_curves_are_drawn_once_the_status_is_written(config, drawn):
    with recorded(config()):
        assert drawn == []
    for error in (Interrupted("SIGTERM"), ValueError("x")):
        with pytest.raises(type(error)), recorded(config()):
            raise error
    assert drawn == ["finished", "interrupted", "failed"]


def test_a_picture_is_written_and_one_that_fails_is_told_and_raises_nothing(folder, caplog, monkeypatch):
    draw_curves(folder)
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not caplog.records

    monkeypatch.setattr(module, "save", lambda figure, file: 1 / 0)
    with caplog.at_level(logging.WARNING):
        draw_curves(folder)
    assert "warning: curves.png: cannot be drawn: division by zero" in caplog.text


def test_nothing_is_drawn_in_a_trial_or_with_one_point_of_each_metric(folder, monkeypatch):
    monkeypatch.setattr(module, "plot_curves", lambda *given: pytest.fail("drawn"))
    (folder / "trial.json").touch()
    draw_curves(folder)
    (folder / "trial.json").unlink()
    (folder / "metrics.csv").write_text("\n".join(ROWS.split("\n")[:2]))
    draw_curves(folder)
    assert not (folder / "curves.png").exists()


def test_no_curves_are_drawn_of_a_refused_run_or_one_that_had_finished(config, drawn):
    with pytest.raises(ConfigError), recorded(config()):
        raise ConfigError("given 1")
    assert drawn == []
    cfg = config()
    with recorded(cfg):
        pass
    cfg.resume = cfg.paths.run
    with recorded(cfg):
        pass
    assert drawn == ["finished"]
