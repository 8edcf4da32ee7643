"""How a process starts and ends: in processes of their own, since both concern the whole of one."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench_root import PROJECT
from kindling.process import start_and_end
from long_run import some

ENTRY = f"""
import atexit, sys, threading, time
sys.path.insert(0, {str(PROJECT)!r})
sys.argv = ["train.py", "data=fake"]
from kindling.cli.entry import entry
atexit.register(print, "atexit")

kept = [open("kept", "w"), open("kept_too", "w+b")]

class Object:
    def __del__(self):
        print("freed")

kept_object = Object()

def main(cfg):
    kept[0].write("to the end")
    kept[1].write(b"this too")
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    print("main", end=" ")

entry({str(PROJECT / "train.py")!r}, main)
"""


def python(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, **options)


def test_a_collector_that_was_off_stays_off():
    done = python(
        "-c",
        # Python 3.12 has frozen some objects itself.
        "import gc; gc.disable(); from kindling.process.start_and_end import kept_from_collection\n"
        "before = gc.get_freeze_count()\nwith kept_from_collection():\n    pass\n"
        "print(gc.isenabled(), gc.get_freeze_count() - before)",
    )
    assert done.stdout == "False 0\n"


@pytest.mark.slow
def test_imports_leave_nothing_to_search_and_scipy_signal_until_it_is_asked_for():
    done = python(
        "-c",
        "import gc, sys; from kindling.process.start_and_end import importing\n"
        "with importing():\n    off = not gc.isenabled(); import lightning\n"
        "print(off, gc.isenabled(), gc.get_freeze_count() > 100_000, 'scipy.signal' in sys.modules)\n"
        "from torchmetrics.functional import audio\n"
        "print(audio.scipy.signal.windows.boxcar(2).tolist(), type(sys.modules['scipy.signal']).__name__)",
    )
    assert done.stdout == "True True True False\n[1.0, 1.0] module\n", done.stderr


@pytest.mark.slow
def test_a_package_that_uses_scipy_signal_while_it_is_deferred_gets_it():
    done = python(
        "-c",
        "import sys; from kindling.process.start_and_end import _DeferredModule\n"
        "sys.modules['scipy.signal'] = _DeferredModule('scipy.signal')\n"
        "from scipy.signal import windows\n"
        "print(windows.boxcar(2).tolist(), type(sys.modules['scipy.signal']).__name__)",
    )
    assert done.stdout == "[1.0, 1.0] module\n", done.stderr


def test_the_end_waits_for_threads_runs_what_was_registered_flushes_files_and_frees_no_objects(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ENTRY)
    done = python(str(script), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "main thread\natexit\n"), done.stderr
    assert (tmp_path / "kept").read_text() == "to the end"
    assert (tmp_path / "kept_too").read_text() == "this too"


@pytest.mark.parametrize("closed", some([">&-", "2>&-"], ">&-"))
def test_a_stream_that_the_shell_has_closed_is_no_failure(closed):
    command = f"{sys.executable} {PROJECT / 'train.py'} --cfg job --package seed {closed}"
    assert subprocess.run(command, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.slow
def test_nothing_after_the_end_is_lost_under_a_profiler(tmp_path):
    done = python("-m", "cProfile", "-s", "cumtime", str(PROJECT / "train.py"), "--cfg", "job", cwd=tmp_path)
    assert "function calls" in done.stdout
    assert "composition.py" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_could_not_be_written_is_a_failure():
    command = [sys.executable, str(PROJECT / "train.py"), "--cfg", "job", "--package", "seed"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        assert subprocess.run(command, stdout=full, env=buffered).returncode == 120
        at_once = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=buffered | {"PYTHONUNBUFFERED": "1"})
    assert at_once.returncode == 1


def test_a_reader_that_leaves_early_hears_no_complaint():
    command = f"{sys.executable} {PROJECT / 'train.py'} --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("Train a model and test its best checkpoint.\n", "")


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_again_after_a_heavy_import_if_it_was_before(enabled):
    gc.enable() if enabled else gc.disable()
    try:
        with start_and_end.uncollected():
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
