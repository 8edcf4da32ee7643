"""The script that tries the launchers sees what is wrong, and leaves no process behind."""

import re
import signal
import sys

import pytest

from bench_root import REPOSITORY

pytestmark = [
    pytest.mark.usefixtures("scripts"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]
# It starts another one, in a session of its own, as torchrun does.
STARTS_ANOTHER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
time.sleep(0 if "ends" in sys.argv else 600)
"""


@pytest.mark.parametrize("how", ["stays", "ends"])
def test_a_command_is_ended_with_all_that_it_has_started(tmp_path, how):
    from launching.command import Command, until

    command = Command([sys.executable, "-c", STARTS_ANOTHER, how], tmp_path)
    num_left = {"stays": 2, "ends": 1}[how]
    until(lambda: len(command.members) == num_left and (how == "stays" or command.process.poll() == 0))
    _, left = command.end(0.1)
    assert left == num_left
    until(lambda: not command.members, within_s=20)


def test_a_signal_reaches_the_process_of_a_rank(tmp_path):
    from launching.command import Command

    code = "import os, time; os.environ['RANK'] == '1' and time.sleep(60)"
    command = Command(["env", "RANK=1", sys.executable, "-c", code], tmp_path)
    assert command.signal(signal.SIGSTOP, "1")
    assert command.end(0.1)[1] == 1
    assert not command.signal(signal.SIGKILL, "1"), "it has ended"


def test_what_is_wrong_is_marked_and_said(capsys):
    import launchers

    def wrong() -> str:
        raise launchers.WrongError("2 run folders")

    assert launchers.said("torchrun, one folder", wrong) == "WRONG: 2 run folders"
    assert launchers.said("torchrun, runs", lambda: "9 s") == "9 s"
    assert capsys.readouterr().out == "torchrun, one folder: WRONG: 2 run folders\ntorchrun, runs: 9 s\n"


def test_each_launcher_is_in_the_documentation_with_its_command():
    import launchers

    page = (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8")
    for launcher in launchers.LAUNCHERS.values():
        words = [each for each in (*launcher.starts, *launcher.trainer) if each.startswith(("--", "trainer"))]
        for word in words:
            assert re.search(rf"{re.escape(word.partition('=')[0])}[ =]", page), word


def test_a_name_that_is_no_launcher_is_refused(monkeypatch, capsys):
    import launchers

    monkeypatch.setattr("sys.argv", ["launchers.py", "torchrum"])
    with pytest.raises(SystemExit, match="2"):
        launchers.main()
    assert "given torchrum; allowed: python, ddp_spawn, torchrun" in capsys.readouterr().err
