"""Which exit code and which words belong to what ends a command."""

import errno
import json
import logging
import re

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf.errors import InterpolationResolutionError

from kindling.cli import outcome
from kindling.config.composition import print_help
from kindling.errors import ConfigError, DataError, Interrupted, InUseError, counted, one_to
from kindling.process import ranks, signals


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (SystemExit(), 0, ""),
        (SystemExit(3), 3, ""),
        (SystemExit("a text"), 1, "a text\n"),
        (BrokenPipeError(), 141, ""),
        (Interrupted("SIGINT"), 130, "interrupted by SIGINT\n"),
        (Interrupted("SIGHUP"), 129, "interrupted by SIGHUP\n"),
        (Interrupted("SIGTERM"), 143, "interrupted by SIGTERM\n"),
        (ConfigError("one\ntwo"), 2, "error: one\nerror: two\n"),
        (InUseError("held"), 2, "error: held\n"),
        (DataError("no images"), 1, "error: no images\n"),
        (ConfigCompositionException("no such\n    group"), 2, "error: no such group\n"),
        (InterpolationResolutionError("no key\n    full_key: a.b"), 2, "error: no key\n"),
        (PermissionError(errno.EACCES, "not allowed", "a file"), 1, "error: a file: not allowed; give a path that can"),
        (OSError(errno.ENOSPC, "no space"), 1, "error: stdout, or the run folder: no space; free space\n"),
        (OSError(errno.EROFS, "read-only", "a"), 1, "error: a: read-only; give a path that can be written\n"),
        (OSError(errno.EDQUOT, "quota"), 1, "error: stdout, or the run folder: quota; free space, or ask for more\n"),
        (ValueError("of Hydra"), 2, "error: of Hydra\n"),
        (ConfigError("with token=hunter22"), 2, "error: with token=<redacted>\n"),
    ],
    ids=lambda each: repr(each)[:30],
)
def test_each_end_has_its_code_and_its_words(capsys, error, code, printed):
    assert outcome.conclude(error, full_trace=False) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(printed)
    assert bool(shown.err) == bool(printed)


@pytest.mark.parametrize("error", [Interrupted("SIGINT"), ConfigError("wrong"), ValueError("a bug")])
def test_what_there_is_to_do_is_printed_below_what_ended_it(capsys, error):
    error.add_note("go on with: resume=last")
    outcome.conclude(error, full_trace=isinstance(error, ValueError))
    assert capsys.readouterr().err.splitlines()[-1] == "go on with: resume=last"


def test_a_terminal_shows_the_calls_of_ones_own_code_and_the_log_all(capsys, monkeypatch, tmp_path):
    def bug():
        return json.loads("{")

    handler = logging.FileHandler(tmp_path / "train.log")
    logging.getLogger().addHandler(handler)
    monkeypatch.setattr(outcome.terminal, "is_watched", lambda: True)
    try:
        bug()
    except ValueError as error:
        outcome.report(error, full_trace=False)
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    shown, logged = capsys.readouterr().err, (tmp_path / "train.log").read_text()
    assert [text.count(", in decode\n") for text in (shown, logged)] == [0, 1]
    assert [text.count(", in bug\n") for text in (shown, logged)] == [1, 1]
    assert [text.count("JSONDecodeError: Expecting") for text in (shown, logged)] == [1, 1]


def test_a_full_trace_is_one_of_each_error(capsys):
    assert outcome.conclude(ValueError("of Hydra"), full_trace=True) == 1
    assert outcome.conclude(ConfigError("wrong"), full_trace=True) == 2
    assert capsys.readouterr().err.splitlines() == [
        "ValueError: of Hydra",
        "kindling.errors.ConfigError: wrong",
    ]


def test_a_job_reports_its_error_and_the_command_does_not_repeat_it(capsys):
    error = ValueError("a bug")
    with pytest.raises(SystemExit) as ended:
        outcome.leave_job(error, full_trace=False)
    assert outcome.conclude(ended.value, full_trace=False) == 1
    assert outcome.conclude(error, full_trace=False) == 1
    assert capsys.readouterr().err == "ValueError: a bug\n"


def test_a_job_of_a_sweep_gives_its_error_to_hydra_which_goes_on(monkeypatch):
    monkeypatch.setattr(outcome, "in_sweep", lambda: True)
    with pytest.raises(ConfigError, match="wrong"):
        outcome.leave_job(ConfigError("wrong"), full_trace=False)


def test_a_signal_behind_an_error_of_a_job_is_what_ends_it(capsys):
    error = RuntimeError("unexpected pos")
    error.__context__ = Interrupted("SIGTERM")
    with pytest.raises(Interrupted, match="SIGTERM"):
        outcome.leave_job(error, full_trace=False)
    with pytest.raises(SystemExit) as ended:
        outcome.leave_job(BrokenPipeError(), full_trace=False)
    assert ended.value.code == 141
    assert capsys.readouterr().err == ""


def test_slurm_starts_the_job_again_after_its_warning_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(signals, "requeue", lambda: asked.append(True))
    assert outcome.conclude(Interrupted("SIGTERM"), full_trace=False) == 143
    assert asked == []
    assert outcome.conclude(Interrupted("SIGUSR1"), full_trace=False) == 143
    assert asked == [True]


@pytest.mark.parametrize(
    "environment", [{ranks.FIRST_PID: "1", "LOCAL_RANK": "1"}, {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1"}]
)
def test_a_further_process_leaves_the_report_of_a_signal_to_the_first_one(monkeypatch, capsys, environment):
    for pair in environment.items():
        monkeypatch.setenv(*pair)
    assert outcome.conclude(Interrupted("SIGTERM"), full_trace=False) == 0
    assert capsys.readouterr().err == ""


def test_a_number_and_its_noun_agree():
    assert [counted(number, "batch") for number in (0, 1, 2)] == ["0 batches", "1 batch", "2 batches"]
    assert [counted(number, "epoch") for number in (1, 1.5)] == ["1 epoch", "1.5 epochs"]
    assert [one_to(number) for number in (1, 8)] == ["1", "1 to 8"]


def test_a_traceback_on_a_terminal_has_the_calls_of_ones_own_code_alone():
    class Mine:
        def compose(self, lines):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError) as caught:
        print_help(Mine(), {}, [], resolve=False)
    text = outcome._without_libraries(caught.value)
    assert re.findall(r"^  File .*, in (\w+)$", text, re.MULTILINE) == [
        "test_a_traceback_on_a_terminal_has_the_calls_of_ones_own_code_alone",
        "compose",
    ]
    assert text.splitlines()[-2:] == [
        "RuntimeError: mine",
        "the calls of libraries and of the engine are left out; train.log has them",
    ]
