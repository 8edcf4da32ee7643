"""The short form of tests/crash.py: a few cases of each part, on small runs."""

from pathlib import Path
from signal import SIGINT, SIGTERM

import pytest

import crash
from long_run import some

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of newer Pythons


QUICK = ("plain",)
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in crash.SCENARIOS]


@pytest.mark.parametrize("scenario", EACH)
def test_a_run_resumed_from_any_of_its_checkpoints_ends_with_the_same_bits(scenario, tmp_path):
    result = crash.every_step(tmp_path, scenario, every=30)
    assert result.wrong == []
    assert result.number >= 1


@pytest.mark.slow
def test_the_scenarios_stop_early_lower_the_rate_and_end_within_an_epoch(tmp_path):
    early, plateau, steps = (tmp_path / name for name in ("early", "plateau", "steps"))
    crash.run(early, crash.overrides_of("EMA and early stopping", tmp_path))
    assert 22 <= last_step(early) < 99
    crash.run(plateau, crash.overrides_of("plateau", tmp_path))
    rates = {line.split(",")[2] for line in (plateau / "metrics.csv").read_text().splitlines()[1:]}
    assert {float(rate) for rate in rates - {""}} == {1, 0.1}
    crash.run(steps, crash.overrides_of("max_steps", tmp_path))
    assert last_step(steps) % 11


def last_step(folder: Path) -> int:
    return int(crash.resume_files.newest_first(folder)[0].stem[5:])


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["plain", "image folder, 2 workers"])
def test_a_run_killed_three_times_ends_with_the_same_bits_and_leaves_nothing(scenario, tmp_path):
    assert crash.random_kills(tmp_path, scenario, 1, seed=7).wrong == []


@pytest.mark.slow
def test_a_run_killed_while_it_decodes_into_a_cache_ends_with_the_same_bits(tmp_path):
    assert crash.kill_decoding(tmp_path, 1, seed=5).wrong == []


@pytest.mark.slow
def test_the_command_killed_three_times_and_given_again_ends_with_the_same_bits(tmp_path):
    assert crash.kill_command(tmp_path, 1, seed=3).wrong == []


def test_a_kill_during_the_write_loses_no_checkpoint(tmp_path):
    assert crash.kill_writes(tmp_path, 4).wrong == []


@pytest.mark.parametrize(
    ("kind", "after"),
    some([("limited", 0), ("limited", 3), ("read-only", 1), ("full", 2)], ("limited", 3)),
)
def test_a_disk_that_takes_no_more_is_told_in_one_line_and_harms_nothing(kind, after, tmp_path):
    assert crash.full_disk(tmp_path, kind, after).wrong == []


@pytest.mark.slow
def test_a_damaged_checkpoint_is_never_loaded_and_the_one_before_is_taken(tmp_path):
    assert crash.damaged(tmp_path, 24, resumed=1).wrong == []


@pytest.mark.slow
def test_a_signal_ends_a_run_at_a_step_that_is_not_repeated(tmp_path):
    result = crash.signals(tmp_path, 1, signums=(SIGTERM,))
    assert result.wrong == []
    assert result.number == 6


@pytest.mark.slow
def test_ctrl_c_does_so_too(tmp_path):
    assert crash.signals(tmp_path, 1, places=("saving",), signums=(SIGINT,)).wrong == []


@pytest.mark.slow
def test_the_number_of_workers_and_its_change_at_a_resume_change_nothing(tmp_path):
    assert crash.workers(tmp_path, numbers=(2,), every=30).wrong == []
