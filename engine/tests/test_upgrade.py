"""What older formats called otherwise is found under the names of today."""

import pytest

from kindling.config import project, renames, upgrade
from kindling.config.renames import FORMAT, Renames
from kindling.config.signatures import TargetMissing, signature
from kindling.config.targets import absolute, locate, relative
from kindling.config.upgrade import name_today, upgrade_states

PACKAGE = project.current().package


def targets_of(config: dict) -> list[str]:
    return [node["_target_"] for node in config.values()]


def test_a_config_of_today_is_left_alone():
    config = relative({"model": {"_target_": f"{PACKAGE}.models.x.X"}, "data": {"_target_": "kindling.images.fake.Y"}})
    assert upgrade.upgrade(config, FORMAT) == config


@pytest.mark.parametrize("package", ["", "kindling", PACKAGE])
def test_classes_of_the_engine_are_told_from_those_of_the_project(package):
    names = ["models.mine.Net", "callbacks.mine.Own", "callbacks.timings.Timings"]
    old = {str(number): {"_target_": f"{package}.{name}"} for number, name in enumerate(names)}
    new = targets_of(upgrade.upgrade(old, 2))
    assert new[:2] == [".models.mine.Net", ".callbacks.mine.Own"]
    assert new[2].startswith("kindling.")
    assert locate(new[2], "callbacks").__name__ == "Timings"


def test_every_module_of_the_engine_that_was_ever_named_is_there():
    for new in (new for table in renames.RENAMES.values() for new in table.targets.values()):
        with pytest.raises(TargetMissing) as missing:
            signature(f"{new}.Nothing")
        assert missing.value.module == new, "only the class is not there"


def test_foreign_names_are_left_alone():
    config = {"optimizer": {"_target_": "torch.optim.SGD"}, "list": [{"_target_": "kindlings.models.x.X"}]}
    assert upgrade.upgrade(config, 1) == config
    assert name_today("torch.optim.SGDD") == ""
    assert name_today(None) == ""


def test_a_resume_that_was_killed_between_its_two_files_finds_new_names_as_they_are(monkeypatch):
    config = relative({"a": {"_target_": "kindling.config.composition.X"}, "b": {"_target_": f"{PACKAGE}.models.x.X"}})
    assert absolute(upgrade.upgrade(config, 2)) == absolute(config)


RENAMED = Renames(
    targets={".old": ".new", ".old.Special": "kindling.special.Other"},
    keys={"a.b": "c.d", "missing.key": "c.e"},
    callbacks={"OldCallback": "NewCallback"},
    weights={"net.": "model."},
)


@pytest.fixture
def renamed(monkeypatch):
    monkeypatch.setattr(upgrade, "RENAMES", {2: RENAMED})


def test_the_longest_name_counts(renamed):
    config = {"x": {"_target_": ".old.Plain"}, "y": [{"_target_": ".old.Special"}], "z": {"_target_": ".older.X"}}
    assert upgrade.upgrade(config, 2) == {
        "x": {"_target_": ".new.Plain"},
        "y": [{"_target_": "kindling.special.Other"}],
        "z": {"_target_": ".older.X"},
    }


def test_keys_move_with_their_values_and_others_stay(renamed):
    assert upgrade.upgrade({"a": {"b": 1, "x": 2}, "c": {"y": 3}}, 2) == {"a": {"x": 2}, "c": {"y": 3, "d": 1}}
    assert upgrade.upgrade({"a": None}, 2) == {"a": None}


def test_states_of_callbacks_and_weights_move_too(renamed):
    saved = {
        "callbacks": {"OldCallback{'monitor': 1}": 1, "Else": 2},
        "state_dict": {"net.a": 1, "criterion.b": 2},
        "current_model_state": {"net.a": 3},
        "epoch": 4,
    }
    assert upgrade_states(saved, 2) == {
        "callbacks": {"NewCallback{'monitor': 1}": 1, "Else": 2},
        "state_dict": {"model.a": 1, "criterion.b": 2},
        "current_model_state": {"model.a": 3},
        "epoch": 4,
    }
    assert upgrade_states(saved, FORMAT) is saved
