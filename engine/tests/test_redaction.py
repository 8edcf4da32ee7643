import shlex

import pytest

from kindling.files.redaction import redact_command, redact_config, redact_text


@pytest.mark.parametrize(
    "text",
    [
        "train.py logger.api_key=S3CRET",
        "train.py +logger.wandb.token=S3CRET seed=1",
        'password: "S3CRET"',
        "+HF_TOKEN = 'S3CRET'",
        "AWS_SECRET_ACCESS_KEY=S3CRET",
        "https://user:S3CRET@host/path",
        "db_passwd=S3CRET",
    ],
)
def test_a_secret_known_by_its_name_is_hidden(text):
    assert "S3CRET" not in redact_text(text)
    assert "<redacted>" in redact_text(text)


@pytest.mark.parametrize("token", ["hf_" + "a1" * 15, "ghp_" + "b2" * 18, "sk-" + "c3" * 16, "AKIA" + "ABCD1234" * 2])
def test_a_secret_known_by_its_form_is_hidden(token):
    assert token not in redact_text(f"use {token} here")


def test_a_secret_of_the_environment_is_hidden_wherever_it_stands(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    assert redact_text("x=0123456789abcdef") == "x=<redacted>"


@pytest.mark.parametrize(
    "text", ["seed=0 model=vit", "num_tokens=49 optimizer.lr=0.1", "monitor=val/loss", "keys: [a, b]"]
)
def test_ordinary_settings_stay(text):
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "argument",
    ["+x.password='S3CRET a'", "x.token=a,S3CRET", '+x.pwd="a]S3CRET"', "x.credentials={user: me, value: S3CRET}"],
)
def test_a_secret_argument_is_hidden_whole_and_the_rest_stays_a_command(argument):
    command = redact_command(["train.py", argument, "paths.logs=a b"])
    assert "S3CRET" not in command
    assert shlex.split(command)[2] == "paths.logs=a b"


def test_a_config_keeps_its_shape_but_nothing_below_a_secret_key():
    config = {"logger": {"api_key": "S3CRET", "name": "x"}, "tokens": [1, 2], "lr": 0.1, "password": None}
    assert redact_config(config | {"db_password": 12345, "credentials": {"value": "S3CRET"}}) == {
        "logger": {"api_key": "<redacted>", "name": "x"},
        "tokens": [1, 2],
        "lr": 0.1,
        "password": None,
        "db_password": "<redacted>",
        "credentials": "<redacted>",
    }


def test_a_target_is_never_changed(monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "kindling")
    config = {"_target_": "bench.models.cnn.CNN"}
    assert redact_config(config) == config


def test_the_current_folder_is_no_password(monkeypatch):
    monkeypatch.setenv("PWD", "/home/ada/kindling")
    assert redact_config({"logs": "/home/ada/kindling/logs"}) == {"logs": "/home/ada/kindling/logs"}
