"""The help of a command has the comments of its YAML."""

import pytest

from bench_root import PROJECT
from kindling.cli.arguments import check_command_line
from kindling.config.comments import with_comments
from long_run import some

FILE = """\
port: 8000 # 0 for a free one
data: # null: as in training
  root: null
  url: "http://a#b" # with a # in it
paths:
  root: a # of logs
hosts: [] # names
"""


def test_each_setting_has_the_comment_that_the_file_has_of_its_path():
    shown = "port: 9000\ndata:\n  root: null\n  url: http://a#b\npaths:\n  root: b\nhosts:\n- a\n- b\n"
    assert with_comments(shown, FILE).splitlines() == [
        "port: 9000  # 0 for a free one",
        "data:  # null: as in training",
        "  root: null",
        "  url: http://a#b  # with a # in it",
        "paths:",
        "  root: b  # of logs",
        "hosts:  # names",
        "- a",
        "- b",
    ]


@pytest.mark.needs("serving", "exporting", "predicting")
@pytest.mark.parametrize("name", some(["serve", "evaluate", "predict", "export"], "serve"))
def test_the_help_of_a_command_shows_what_its_settings_mean(name, capsys):
    assert check_command_line(name, ["--help", "run=a"]) is None
    text = (PROJECT / "configs" / f"{name}.yaml").read_text()
    comments = [line.partition(" # ")[2] for line in text.partition("\nhydra:")[0].splitlines() if " # " in line]
    shown = capsys.readouterr().out
    assert comments
    assert [each for each in comments if each not in shown] == []
    assert "run: a  # " in shown
