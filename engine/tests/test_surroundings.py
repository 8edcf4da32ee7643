"""What a run outlives: closed and full streams, names that are not UTF-8, and other poor surroundings."""

import errno
import json
import os
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from bench_root import PROJECT
from kindling.checkpoints import resume_files
from kindling.cli.entry import compose
from kindling.config.rules import run_rules
from kindling.errors import ConfigError
from kindling.files.whole_file import write_whole
from kindling.images.folder import class_names, list_images
from kindling.testing.runs import ONE_BATCH

NOT_UTF_8 = os.fsdecode(b"gr\xfcn")
RENAME = "rename it, or give a link to it"
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")

TALKATIVE = """
import os, sys
from kindling.process import streams
streams.take_over()
streams.drop_unwritable(1)
for stream in (sys.stdout, sys.stderr):
    print("größe \\udcff" * 10_000, file=stream)
    stream.flush()
    stream.isatty()
sys.stdin.read()
sys.exit(7 if os.open(os.devnull, os.O_RDONLY) > 2 else 1)
"""
JOB = f"""
from omegaconf import OmegaConf
from kindling.cli.entry import _job
from kindling.config import project
from kindling.process import streams
project.use({str(PROJECT)!r})
streams.take_over()
_job(lambda cfg: print("x" * 100_000), False)(OmegaConf.create({{}}))
"""
RESULT = """
from kindling.process import streams
streams.take_over()
streams.drop_unwritable(1)
stdout = streams.stdout_for_a_result()
stdout.write("a row\\n")
stdout.flush()
"""
UNWRITABLE = [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1"]


def shell(code: str, redirection: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = ["bash", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, code]
    return subprocess.run(command, env=os.environ | environment, stdin=subprocess.DEVNULL, capture_output=True)


@needs_full
@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("redirection", UNWRITABLE)
def test_messages_that_cannot_be_written_end_no_run(redirection, buffered):
    assert shell(TALKATIVE, redirection, PYTHONUNBUFFERED=buffered).returncode == 7


def test_messages_to_a_reader_that_has_gone_end_no_run():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", TALKATIVE]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer).returncode == 7
    os.close(writer)


def test_messages_in_other_letters_than_the_terminal_has_are_escaped():
    done = shell(TALKATIVE, "", PYTHONIOENCODING="ascii")
    assert done.returncode == 7, done.stderr[-500:]
    assert done.stdout.startswith(rb"gr\xf6\xdfe \udcff")


@needs_full
def test_the_job_of_a_command_outlives_its_stdout():
    assert shell(JOB, ">/dev/full").returncode == 0


@needs_full
def test_a_result_that_cannot_be_written_is_a_failure():
    assert shell(RESULT, "").stdout == b"a row\n"
    done = shell(RESULT, ">/dev/full")
    assert done.returncode != 0
    assert b"No space left" in done.stderr


# Names


@pytest.mark.parametrize("key", ["paths.logs", "data.root", "model.weights"])
def test_a_name_in_the_config_that_is_not_utf_8_is_refused_in_one_line(key):
    (fault,) = run_rules.texts_are_in_utf8(_nested(key))
    assert str(fault) == f"{key}: given {NOT_UTF_8}, which is not in UTF-8; allowed: a name that is; {RENAME}"


def test_such_a_name_in_a_list_is_found_and_what_predict_takes_is_not():
    faults = run_rules.texts_are_in_utf8({"tags": ["a", NOT_UTF_8], "input": NOT_UTF_8, "output": NOT_UTF_8})
    assert [fault.path for fault in faults] == ["tags.1"]


def test_python_that_reads_names_as_ascii_is_told_how_not_to(monkeypatch):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    (fault,) = run_rules.texts_are_in_utf8({"seed": NOT_UTF_8})
    assert str(fault).endswith("or set PYTHONUTF8=1, as names are read as ascii here")


def test_a_command_line_with_such_a_name_is_refused():
    with pytest.raises(ConfigError, match=r"paths\.logs: given .*, which is not in UTF-8"):
        compose(["data=fake", f"paths.logs='{NOT_UTF_8}'"])


def test_a_class_folder_whose_name_is_not_utf_8_is_a_class_with_an_escaped_name(tmp_path):
    for name in (NOT_UTF_8, "blau"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / f"{NOT_UTF_8}.png").touch()
    classes = class_names(tmp_path)
    assert classes == ["blau", r"gr\xfcn"]
    images = list_images(tmp_path / "train", classes)
    assert [(path.parent.name, label) for path, label in images] == [("blau", 0), (NOT_UTF_8, 1)]


def test_a_file_holds_any_name(tmp_path):
    with write_whole(tmp_path / "file") as stream:
        stream.write(f"{NOT_UTF_8} größe")
    assert (tmp_path / "file").read_text(encoding="utf-8") == r"gr\udcfcn größe"


def test_a_record_gives_back_the_names_that_it_was_given(tmp_path):
    with write_whole(tmp_path / "file") as stream:
        json.dump({"command": NOT_UTF_8}, stream, ensure_ascii=False)
    assert json.loads((tmp_path / "file").read_bytes()) == {"command": NOT_UTF_8}


@pytest.mark.needs("serving")
def test_an_answer_over_http_holds_any_name():
    from kindling.inference.serving.app import _json

    assert json.loads(_json({"class": NOT_UTF_8}).body) == {"class": NOT_UTF_8}


# File systems


def unsupported(*_):
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_file_system_without_links_has_a_copy_as_its_last_checkpoint(tmp_path, monkeypatch):
    for name in ("link", "symlink"):
        monkeypatch.setattr(os, name, unsupported)
    (tmp_path / "step_1.ckpt").write_text("x")
    for _ in range(2):
        resume_files.name_last(tmp_path / "step_1.ckpt")
    assert (tmp_path / "last.ckpt").read_text() == "x"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("number", "is_taken"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_file_system_that_waits_for_no_folder_takes_files_all_the_same(tmp_path, monkeypatch, number, is_taken):
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, "of a folder")

    monkeypatch.setattr(os, "fsync", fsync)
    with nullcontext() if is_taken else pytest.raises(OSError, match="of a folder"):
        write(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "whole"


def write(file: Path) -> None:
    with write_whole(file, durable=True) as stream:
        stream.write("whole")


QUICK = ["data=fake", "model=mlp", "trainer=cpu", *ONE_BATCH, "logger=csv"]


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 8, 12, 16, 20, 24, 40])
def test_a_disk_that_is_full_is_one_line_whatever_file_meets_it_and_the_run_goes_on_once_there_is_space(
    tmp_path, kilobytes
):
    disk = tmp_path / "disk"
    disk.mkdir()
    train = f"{sys.executable} {PROJECT / 'train.py'} {' '.join(QUICK)} trainer.max_epochs=2"
    script = (
        f"mount -t tmpfs -o size={kilobytes}k none {disk} || exit 77\n"
        f"{train} hydra.run.dir={disk}/run 2> {tmp_path}/first && exit 78\n"
        f"mount -o remount,size=50m {disk}\n"
        f"if [ -e {disk}/run/run.json ]; then {train} resume={disk}/run; else {train} hydra.run.dir={disk}/run; fi\n"
    )
    done = subprocess.run(["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, timeout=100)
    if done.returncode in (1, 77) and "permitted" in done.stderr:
        pytest.skip("needs the right to mount")
    lines = [line for line in (tmp_path / "first").read_text().splitlines() if line.startswith(("error", "Trace"))]
    assert len(lines) == 1, lines
    assert lines[0].endswith(("; free space", "free space or set paths.logs"))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        *("<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "| true", "> >(head -1)"),
        *("TERM=dumb", "TERM=", "COLUMNS=0", "COLUMNS=x", "HOME=/proc/nowhere", "HOME=", "TMPDIR=/nowhere"),
        *("LC_ALL=C", "LC_ALL=C PYTHONIOENCODING=ascii", "LC_ALL=nowhere", "umask 077;"),
    ],
)
def test_a_run_outlives_its_surroundings(tmp_path, given):
    logs = tmp_path / "größe"
    redirected = given if given[0] in "<>|2" else ""
    before = "" if redirected else given
    train = f"{sys.executable} {PROJECT / 'train.py'} {' '.join(QUICK)} \"paths.logs='{logs}'\""
    command = f"set -o pipefail; {before} {train} {redirected}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert '"status": "finished"' in next(logs.rglob("run.json")).read_text(encoding="utf-8")


def _nested(key: str) -> dict[str, dict[str, str]]:
    group, _, name = key.partition(".")
    return {group: {name: NOT_UTF_8}}
