import pytest

from kindling.config.given import GIVEN, needed_by, taken_by


def test_a_task_that_passes_its_further_arguments_on_takes_those_of_its_base():
    assert taken_by("bench.tasks.classification.Classification") == set(GIVEN)


@pytest.mark.parametrize("target", ["torch.nn.Linear", "nowhere.Task", "bench.tasks.classification.Missing"])
def test_what_is_no_task_takes_nothing(target):
    assert taken_by(target) == set()


def test_a_task_that_brings_its_optimizers_or_its_loaders_needs_none(tmp_path, monkeypatch):
    text = "from bench.tasks.classification import Classification\nclass Own(Classification):\n"
    (tmp_path / "own_optimizers.py").write_text(f"{text}    def configure_optimizers(self): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert needed_by("bench.tasks.classification.Classification") == {"model", "optimizer", "data"}
    assert needed_by("own_optimizers.Own") == {"model", "data"}
    assert needed_by("bench.plain.GAN") == {"data"}
    assert needed_by("bench.hostile.BringsItsData") == set()
