import pytest

from kindling.config.given import GIVEN, taken_by


def test_a_task_that_passes_its_further_arguments_on_takes_those_of_its_base():
    assert taken_by("bench.tasks.classification.Classification") == set(GIVEN)


@pytest.mark.parametrize("target", ["torch.nn.Linear", "nowhere.Task", "bench.tasks.classification.Missing"])
def test_what_is_no_task_takes_nothing(target):
    assert taken_by(target) == set()
