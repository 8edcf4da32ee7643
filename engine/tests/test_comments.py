"""The help of a command has the comments of its YAML."""

import re

import pytest

from bench_root import PROJECT
from kindling.cli.arguments import check_command_line
from kindling.config.comments import WIDTH, with_comments
from long_run import some

FILE = """\
port: 8000 # 0 for a free one
data: # null: as in training
  root: null
  url: "http://a#b" # with a # in it
paths:
  root: a # of logs
# such as one.org
# and two.org
hosts: [] # names
of:
  # one
  all: 1 # that there are, at most as many as the rest of this line says that there may be
"""


def test_each_setting_has_the_comment_that_the_file_has_of_its_path():
    shown = "port: 9000\ndata:\n  root: null\n  url: http://a#b\npaths:\n  root: b\nhosts:\n- a\n- b\nof:\n  all: 1\n"
    assert with_comments(shown, FILE).splitlines() == [
        "port: 9000  # 0 for a free one",
        "data:  # null: as in training",
        "  root: null",
        "  url: http://a#b  # with a # in it",
        "paths:",
        "  root: b  # of logs",
        "# such as one.org",
        "# and two.org",
        "hosts:  # names",
        "- a",
        "- b",
        "of:",
        "  # one",
        "  # that there are, at most as many as the rest of this line says that there may",
        "  # be",
        "  all: 1",
    ]


@pytest.mark.needs("serving", "exporting", "predicting")
@pytest.mark.parametrize("name", some(["serve", "evaluate", "predict", "export"], "serve"))
def test_the_help_of_a_command_shows_what_its_settings_mean(name, capsys):
    assert check_command_line(name, ["--help", "run=a"]) is None
    text = (PROJECT / "configs" / f"{name}.yaml").read_text()
    settings = text.partition("\n\n")[2].partition("\nhydra:")[0]
    comments = re.findall(r"(?:^| )# (.*)", settings, re.MULTILINE)
    shown = capsys.readouterr().out
    as_one_line = re.sub(r"\n *# ", " ", shown)
    assert comments
    assert [each for each in comments if each not in as_one_line] == []
    assert "ckpt: null  # or a checkpoint file\n" in shown
    assert [line for line in shown.splitlines() if len(line) > WIDTH] == []


def test_the_help_of_training_fits_a_narrow_terminal(capsys):
    assert check_command_line("train", ["--help"]) is None
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > WIDTH] == []
