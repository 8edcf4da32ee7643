"""The patients of scikit-learn's package."""

import gzip
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kindling.cli.entry import compose
from kindling.config.check import fits
from kindling.errors import DataError

pytest.importorskip("my_project.data.diabetes")
from my_project.data.diabetes import COLUMNS, Diabetes

OPEN = {"mean": None, "std": None, "target_mean": None, "target_std": None}


def diabetes(**settings: Any) -> Diabetes:
    return Diabetes(**{"num_features": 10, "batch_size": 32, "num_workers": 0, "seed": 0} | OPEN | settings)


@pytest.fixture(scope="module")
def data() -> Diabetes:
    data = diabetes()
    data.setup("fit")
    return data


@pytest.mark.slow
def test_its_splits_together_are_scikit_learns_patients_each_once(data):
    from sklearn.datasets import load_diabetes

    features, targets = load_diabetes(return_X_y=True, scaled=False)
    expected = np.column_stack([features, targets]).astype(np.float32)
    found = np.concatenate([np.column_stack([part[0], part[1]]) for part in data.present().values()])
    assert [len(part[1]) for part in data.present().values()] == [310, 66, 66]
    assert sorted(map(tuple, found)) == sorted(map(tuple, expected))
    assert list(COLUMNS) == load_diabetes().feature_names


def test_the_splits_do_not_depend_on_the_seed(data):
    assert diabetes(seed=1).fingerprint == data.fingerprint


def test_its_statistics_are_those_of_train_alone(data):
    features, targets = (part.double() for part in data.splits.train)
    assert data.facts["mean"] == pytest.approx(features.mean(0).tolist(), rel=1e-5)
    assert data.facts["std"] == pytest.approx(features.std(0).tolist(), rel=1e-5)
    assert data.facts["target_mean"] == pytest.approx(targets.mean().item())
    assert data.facts["target_std"] == pytest.approx(targets.std().item())
    assert data.facts["columns"] == list(COLUMNS)


def test_statistics_that_are_given_are_facts_as_they_are():
    given = diabetes(mean=[0.0] * 10, target_std=1.0).facts
    assert (given["mean"], given["target_std"]) == ([0.0] * 10, 1.0)


def test_the_config_has_the_statistics_of_its_train_split_or_leaves_them_open(data):
    written = compose(fits.lines_for("diabetes")).data
    for name in OPEN:
        assert written[name] is None or list(np.atleast_1d(written[name])) == pytest.approx(
            list(np.atleast_1d(data.facts[name])), rel=0.01
        )


def test_folds_find_statistics_of_their_own():
    means = [diabetes(fold=fold).facts["target_mean"] for fold in range(3)]
    assert len(set(means)) == 3


def test_a_batch_is_features_and_a_number_for_each_patient(data):
    features, targets = next(iter(data.train_dataloader()))
    assert (features.shape, targets.shape) == ((32, 10), (32,))
    assert features.dtype == targets.dtype == torch.float32


# A process of its own imports torch, which takes five seconds.
@pytest.mark.slow
def test_reading_it_does_not_import_scikit_learn():
    code = (
        "import sys, my_project.data.diabetes as d; d.table('diabetes_target.csv.gz'); print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_another_number_of_features_is_answered_with_what_is_allowed():
    with pytest.raises(DataError, match=r"data\.num_features: given 9; allowed: 10, as the data has them"):
        diabetes(num_features=9)


def test_without_its_package_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr("my_project.data.diabetes.find_spec", lambda name: None)
    with pytest.raises(DataError, match="given no scikit-learn; install it with `pip install scikit-learn`"):
        diabetes().setup("fit")


@pytest.mark.parametrize(
    "content", [None, b"hello", gzip.compress(b"1 2 x\n")], ids=["missing", "no gzip", "no number"]
)
def test_a_missing_or_damaged_file_is_named(monkeypatch, tmp_path, content):
    file = tmp_path / "datasets" / "data" / "diabetes_data_raw.csv.gz"
    file.parent.mkdir(parents=True)
    if content is not None:
        file.write_bytes(content)
    found = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("my_project.data.diabetes.find_spec", lambda name: found)
    with pytest.raises(DataError, match=f"data=diabetes: given {file}: .*; reinstall scikit-learn"):
        diabetes().setup("fit")
