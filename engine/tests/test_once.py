"""What Hydra gives through kindling.config.once, against Hydra by itself."""

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from kindling.config import once, project
from kindling.config.composition import Composer
from kindling.testing import quick

LINES = ["experiment=cnn", "optimizer.lr=0.5", "hydra.job.name=x"]


def composed(folder=None) -> str:
    with Composer("train", folder) as composer:
        return OmegaConf.to_yaml(composer.compose(LINES))


@pytest.fixture
def plain_hydra(monkeypatch):
    """Hydra without our part in it; read anew."""
    monkeypatch.setattr(once.ConfigRepository, "load_config", once._load_config)


def test_a_config_is_that_of_plain_hydra(request):
    ours = composed(project.current().configs.parent / "configs")
    request.getfixturevalue("plain_hydra")
    assert composed(project.current().configs.parent / "configs") == ours


def test_a_file_that_was_changed_is_read_again(tmp_path):
    (tmp_path / "train.yaml").write_text("value: 1\n")
    with Composer("train", tmp_path) as composer:
        assert composer.compose([]).value == 1
        (tmp_path / "train.yaml").write_text("value: 12\n")
        assert composer.compose([]).value == 12


def test_what_is_changed_in_a_config_is_not_in_the_next(tmp_path):
    (tmp_path / "train.yaml").write_text("node: {value: 1}\n")
    with Composer("train", tmp_path) as composer:
        composer.compose([]).node.value = 2
        assert composer.compose([]).node.value == 1


def test_each_job_of_a_sweep_is_composed_once_and_another_sweep_anew(monkeypatch):
    composed = []
    monkeypatch.setattr(once, "_compose_job", lambda self, config, lines: composed.append(lines) or {"lines": lines})
    monkeypatch.setattr(once, "_jobs", {})
    sweep, jobs = object(), [["seed=0"], ["seed=1"]]
    checked = [once._compose_once(None, sweep, lines) for lines in jobs]
    run = [once._compose_once(None, sweep, lines) for lines in jobs]
    assert composed == jobs
    assert checked == run
    once._compose_once(None, object(), ["seed=0"])
    assert len(composed) == 3


def test_equal_jobs_of_a_sweep_have_a_config_each():
    with Composer("train"):
        sweep = GlobalHydra.instance().config_loader().load_configuration("train", ["seed=0,0"], RunMode.MULTIRUN)
        loader = GlobalHydra.instance().config_loader()
        # Hydra looks at all before it runs the first.
        *_, first, second = [once._compose_once(loader, sweep, ["seed=0"]) for _ in range(4)]
    OmegaConf.set_readonly(first, True)
    first.hydra._set_flag("readonly", False)
    first.hydra.job.num = 1
    assert OmegaConf.is_missing(second.hydra.job, "num")
    second.seed = 3


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["seed=1"], marks=pytest.mark.slow),
        ["optimizer.lr=0.5", "model=mlp", "seed=2"],
        ["experiment=cnn", "data.augment=null", "+optimizer.amsgrad=true", "~callbacks.early_stopping"],
        pytest.param(["+callbacks/monitor=x", "seed=3"], marks=pytest.mark.slow),
        ["model={_target_: bench.models.mlp.MLP}", "seed=4"],
        ["seed=5", "hydra.job.name=other", "hydra/help=default"],
        pytest.param(
            ["hydra.job.config.override_dirname.exclude_keys=[seed]", "seed=6", "test=false"], marks=pytest.mark.slow
        ),
        pytest.param(["seed=7", "seed=8"], marks=pytest.mark.slow),
        ["seed='a b'", "monitor='x=y,z'"],
        pytest.param(["no.such.key=1"], marks=pytest.mark.slow),
        ["~seed=99"],
        pytest.param(["model@nowhere=mlp", "seed=9"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_a_job_of_a_sweep_is_what_hydra_composes(lines):
    """Each after another job of the same choices, and before one, so that nothing is left behind in what is kept."""
    with Composer("train"):
        loader = GlobalHydra.instance().config_loader()
        sweep = loader.load_configuration("train", ["hydra.job.chdir=false", "seed=0,1"], RunMode.MULTIRUN)
        expected = outcome(once._load_sweep_config, loader, sweep, lines)
        assert outcome(once._compose_job, loader, sweep, lines) == expected
        outcome(once._compose_job, loader, sweep, [*lines, "seed=77", "trainer.max_epochs=77"])
        assert outcome(once._compose_job, loader, sweep, lines) == expected


@pytest.mark.parametrize(
    "lines",
    [
        ["optimizer.lr=0.5", "model=mlp", "seed=2"],
        ["experiment=cnn", "data.augment=null", "+optimizer.amsgrad=true", "~callbacks.early_stopping"],
        ["seed=5", "hydra.job.name=other", "hydra/help=default"],
        ["seed=1", "no.such.key=1"],
    ],
    ids=" ".join,
)
def test_a_config_that_tests_compose_is_what_hydra_composes(lines, monkeypatch):
    """After one of the same choices, and before one."""
    monkeypatch.setattr(quick, "_composed", {})
    monkeypatch.setattr(quick, "_bases", {})
    with Composer("train") as composer:
        expected = outcome(quick._compose, composer, lines)
        for given in ([*lines, "seed=77"], lines, [*lines, "seed=77", "trainer.max_epochs=77"]):
            outcome(quick._compose_once, composer, given)
        monkeypatch.setattr(quick, "_composed", {})
        assert outcome(quick._compose_once, composer, lines) == expected


def test_files_that_several_command_lines_of_tests_choose_are_merged_once(monkeypatch):
    merged = []
    monkeypatch.setattr(quick, "_composed", {})
    monkeypatch.setattr(quick, "_bases", {})
    compose = quick._compose
    monkeypatch.setattr(quick, "_compose", lambda self, lines: merged.append(lines) or compose(self, lines))
    with Composer("train") as composer:
        seeds = [composer.compose(["model=mlp", f"seed={seed}"]).seed for seed in (1, 2)]
    assert (seeds, merged) == ([1, 2], [("model=mlp",)])


def test_a_sweep_does_not_take_over_what_another_one_composed():
    with Composer("train"):
        loader = GlobalHydra.instance().config_loader()
        for name in ("one", "other"):
            sweep = loader.load_configuration("train", [f"hydra.job.name={name}"], RunMode.MULTIRUN)
            assert once._compose_job(loader, sweep, ["seed=1"]).hydra.job.name == name


@pytest.mark.parametrize("of_sweep", [True, False])
def test_a_job_finds_the_groups_of_a_search_path(tmp_path, of_sweep):
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "one.yaml").write_text("# @package trainer\nmax_epochs: 77\n")
    path = [f"hydra.searchpath=[file://{tmp_path}]"]
    with Composer("train"):
        loader = GlobalHydra.instance().config_loader()
        sweep = loader.load_configuration("train", path if of_sweep else [], RunMode.MULTIRUN)
        job = once._compose_job(loader, sweep, ["+probe=one", "seed=1", *([] if of_sweep else path)])
    assert job.trainer.max_epochs == 77


def outcome(compose, *arguments) -> str:
    try:
        return OmegaConf.to_yaml(compose(*arguments))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
