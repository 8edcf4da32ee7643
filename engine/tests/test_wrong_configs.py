"""docs/wrong-configs.md holds the answers of today: python engine/scripts/compare_mistakes.py --write"""

import sys

import pytest

from bench_root import REPOSITORY
from kindling.cli.arguments import checked_arguments
from kindling.config.check.command_line import Check, refuse
from kindling.config.composition import Composer
from kindling.errors import KindlingError

sys.path.insert(0, str(REPOSITORY / "engine" / "scripts"))
from compare_mistakes import DOCUMENT, MISTAKES, Answer, shown

NUM_QUICK = 2


@pytest.mark.parametrize(
    "mistake",
    [pytest.param(each, marks=[pytest.mark.slow] if n >= NUM_QUICK else []) for n, each in enumerate(MISTAKES)],
)
def test_the_page_of_wrong_configs_shows_the_answer_of_today(mistake):
    with pytest.raises(KindlingError) as refused, Composer("train") as composer:
        refuse(Check(composer).run(checked_arguments("train", mistake) or mistake))
    answer = Answer(2, [f"error: {line}" for line in str(refused.value).splitlines()])
    assert f"| `{' '.join(mistake)}` | {shown(answer)} |" in DOCUMENT.read_text(encoding="utf-8")
