"""A few of the random changes that `fuzz.py` makes by the hundred."""

import pytest

import fuzz


@pytest.mark.slow
@pytest.mark.parametrize("verb", fuzz.VERBS)
def test_a_verb_withstands_random_changes_of_a_run(verb):
    found = fuzz.attempts({verb: fuzz.VERBS[verb]}, number=8, seed=1)
    assert [one.fault for _, one in found[verb].values()] == [""] * 8
