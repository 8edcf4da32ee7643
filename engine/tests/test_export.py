import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from PIL import Image
from torch import Tensor, nn

import kindling
from kindling.cli.entry import compose
from kindling.errors import CheckpointError, ConfigError, DataError, ExportError
from kindling.export import NAMES, export
from kindling.files.whole_folder import write_whole_folder
from kindling.images.augment import Normalize
from kindling.inference import model_folder, runtimes
from kindling.inference.exporting import formats, int8, timing
from kindling.inference.exporting.exported_graph import exported_graph
from kindling.inference.exporting.parity import Parity
from kindling.inference.model_folder import FILES
from long_run import some

FORMATS = ("onnx", "pt2", "torchscript", "int8")
MODELS = {
    "mlp": [],
    "cnn": [],
    "cnn norm": ["model=cnn", "model.norm=group", "model.checkpoint_activations=true"],
    "vit": ["model.stochastic_depth=0.2", "model.checkpoint_activations=true"],
    "pretrained": ["data.channels=3"],
}


def export_run(run, *overrides: str) -> dict[str, float]:
    return export(compose([f"run={run.folder}", "benchmark=false", *overrides], name="export"))


def random_pixels(num_images: int, size: int = 16, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_images, size, size, channels), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(trained) -> Path:
    """An ONNX model with all that is written of one."""
    export(compose([f"run={trained.folder}", f"output={trained.folder}/onnx"], name="export"))
    return trained.folder / "onnx"


def test_the_exported_model_gives_the_probabilities_of_the_trained_one(exported, trained):
    described, run = runtimes.open_model(exported, threads=1)
    pixels = random_pixels(5)
    expected = kindling.load(trained.folder, device="cpu").probabilities(pixels)
    assert np.abs(run(pixels) - expected.numpy()).max() < 1e-6
    assert run(pixels[:1]).shape == (1, 10), "any number of images"
    assert described.processor["classes"] == kindling.load(trained.folder, device="cpu").classes


def test_the_model_folder_tells_where_the_model_comes_from_without_a_path_of_this_machine(exported, trained):
    about = model_folder.read(exported).about
    assert about["run"] == trained.folder.name
    best = json.loads((trained.folder / "run.json").read_text())["best"]
    tested = {name: value for name, value in trained.metrics.items() if name.startswith("test/")}
    assert about["metrics"] == tested | {best["monitor"]: best["score"]}, "of this checkpoint, not of the last epoch"
    assert about["checkpoint_sha256"] == model_folder.sha256_of(trained.folder / "checkpoints" / "best.ckpt")
    assert about["parity"]["examples"] == 64
    assert about["parity"]["max_difference"] < 1e-4
    assert about["benchmark"]["PyTorch"]["batch_64_s"] > about["benchmark"]["PyTorch"]["batch_1_s"] > 0
    assert about["benchmark"]["model.onnx"]["bytes"] == (exported / "model.onnx").stat().st_size
    assert {file.name for file in exported.iterdir()} == {"model.onnx", "model.json", "README.md", "decoding.py"}
    for file in exported.iterdir():
        assert str(trained.folder.parent).encode() not in file.read_bytes(), file
        assert str(Path(kindling.__file__).parents[2]).encode() not in file.read_bytes(), file


def run_readme(folder: Path, image: Path) -> list[str]:
    """What the README's lines print in a process that knows no Kindling."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 16
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import sys; sys.modules['kindling'] = None\n" + code
    command = [sys.executable, "-W", "ignore", "-c", code, str(image)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.rsplit(maxsplit=1)


def check_readme(folder: Path, predictor, image: Path) -> None:
    name, probability = run_readme(folder, image)
    assert name == predictor.predict(image)
    assert float(probability) == pytest.approx(predictor.predict(image, "probabilities").max().item(), abs=0.02)


def test_the_readme_of_a_model_folder_classifies_an_image_without_kindling(exported, trained, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # lies on its side
    Image.fromarray(random_pixels(1, size=20)[0, :, :, 0]).save(tmp_path / "image.png", exif=turned)
    check_readme(exported, kindling.load(trained.folder, device="cpu"), tmp_path / "image.png")


@pytest.mark.slow
@pytest.mark.parametrize("preprocessing", ["true", "false"])
@pytest.mark.parametrize("format", FORMATS)
def test_each_readme_classifies_an_image_without_kindling(finished, tmp_path, monkeypatch, format, preprocessing):
    monkeypatch.setattr("kindling.inference.exporting.parity.LARGEST_LOSS", 10)  # one of 64 images is more than a point
    export_run(finished, f"format={format}", f"output={tmp_path}/model", f"preprocessing={preprocessing}")
    Image.fromarray(random_pixels(1, size=20)[0, :, :, 0]).save(tmp_path / "image.png")
    check_readme(tmp_path / "model", kindling.load(finished.folder, device="cpu"), tmp_path / "image.png")


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_exported_in_every_format(train_run, monkeypatch, model, format):
    monkeypatch.setattr("kindling.inference.exporting.parity.LARGEST_LOSS", 10)  # one of 64 images is more than a point
    run = train_run("trainer.max_epochs=1", f"model={model.partition(' ')[0]}", *MODELS[model])
    found = export_run(run, f"format={format}")
    folder = run.folder / "export" / format
    described, compute = runtimes.open_model(folder, threads=1, trust=True)
    pixels = random_pixels(3, *(described.processor[name] for name in ("image_size", "channels")))
    expected = kindling.load(run.folder, device="cpu").probabilities(pixels)
    assert str(Path(kindling.__file__).parents[2]).encode() not in contents(folder / FILES[format])
    assert np.abs(compute(pixels) - expected.numpy()).max() < (0.2 if format == "int8" else 1e-5)
    assert found["max_difference"] <= 1e-4 or format == "int8"
    assert described.about.get("method", "script") == "script", "of our own models and these of torchvision"


def contents(file: Path) -> bytes:
    """Of a file, or of all that a zip file holds."""
    if not zipfile.is_zipfile(file):
        return file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def test_torchscript_says_how_it_was_made_and_that_it_is_deprecated(finished, caplog):
    caplog.set_level("INFO")
    found = export_run(finished, "format=torchscript", "preprocessing=false")
    assert found["max_difference"] <= 1e-4
    described, compute = runtimes.open_model(finished.folder / "export" / "torchscript", trust=True)
    pixels = random_pixels(3)
    expected = kindling.load(finished.folder, device="cpu").probabilities(pixels)
    assert np.abs(compute(pixels) - expected.numpy()).max() < 1e-5
    assert described.about["method"] == "script"
    assert "TorchScript by script" in caplog.text
    assert "PyTorch has deprecated TorchScript" in caplog.text


@pytest.mark.slow
def test_a_mean_that_stands_for_all_channels_is_told_for_each(train_run):
    run = train_run("trainer.max_epochs=1", "data.channels=3")
    assert len(run.cfg.data.mean) == 1
    export_run(run, "format=torchscript")
    described, _ = runtimes.open_model(run.folder / "export" / "torchscript", trust=True)
    assert described.processor["mean"] == [*run.cfg.data.mean] * 3
    assert str(Path(torch.__file__).parent).encode() not in contents(run.folder / "export/torchscript/model.pt")


def test_a_run_that_cannot_be_written_is_exported_to_the_logs(finished, tmp_path):
    (finished.folder / "export").write_text("a file where the folder would be")
    export_run(finished, "format=torchscript", f"paths.logs={tmp_path}/other")
    assert model_folder.read(tmp_path / "other" / "export" / finished.folder.name / "torchscript")


class Doubling(nn.Module):
    """Doubles while the images are small: how often depends on them."""

    def forward(self, images: Tensor) -> Tensor:
        while images.sum() < 100:
            images = images * 2
        return images.mean((2, 3))


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_a_net_whose_way_depends_on_the_images_is_refused_in_one_line(tmp_path, capsys, format):
    example = torch.ones(2, 1, 4, 4)
    with pytest.raises(ExportError, match=f"given {format}, which cannot hold Doubling .*format=torchscript") as raised:
        formats.write(format, Doubling(), example, tmp_path, method="auto", aot=False)
    assert "\n" not in str(raised.value)
    assert capsys.readouterr() == ("", "")


def test_a_script_keeps_what_depends_on_the_images(tmp_path):
    example = torch.ones(2, 1, 4, 4)
    facts = formats.write("torchscript", Doubling(), example, tmp_path, method="auto", aot=False)
    assert facts == {"method": "script"}
    other = np.full((1, 1, 4, 4), 0.1, dtype=np.float32)
    (found,) = runtimes.open_file(tmp_path / "model.pt")(other)
    assert found == pytest.approx(Doubling()(torch.from_numpy(other)).numpy())


def pooled_net(scale: float) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
    )
    nn.init.constant_(net[2].weight, scale)
    nn.init.normal_(net[2].bias)
    return net.eval()


@pytest.mark.parametrize(
    ("scale", "operators"),
    [(0.5, ["Conv", "Relu", "MaxPool"]), pytest.param(-0.5, ["Conv", "MaxPool"], marks=pytest.mark.slow)],
)
def test_a_relu_and_a_norm_move_before_the_pooling_if_the_result_stays_the_same(tmp_path, scale, operators):
    net, images = pooled_net(scale), torch.rand(5, 1, 8, 8)
    formats.write("onnx", net, images[:2], tmp_path, method="auto", aot=False)
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    assert not any(node.metadata_props for node in nodes), "what only torch's developers need"
    found = [node.op_type for node in nodes]
    # The oldest onnxscript asks for the size of a batch first.
    assert [name for name in found if name not in ("BatchNormalization", "Shape")][: len(operators)] == operators
    assert found.index("BatchNormalization") < found.index("MaxPool") or scale < 0
    (logits,) = runtimes.open_file(tmp_path / "model.onnx")(images.numpy())
    assert logits == pytest.approx(net(images).detach().numpy(), abs=1e-6)


@pytest.mark.slow
def test_int8_has_weights_of_seven_bits_and_logits_that_are_not_rounded(tmp_path):
    net, images = pooled_net(0.5), torch.rand(64, 1, 8, 8)
    formats.write("int8", net, images[:2], tmp_path, method="auto", aot=False)
    file = tmp_path / "model.onnx"
    assert int8.quantise(file, iter([images.numpy()]), most=60) == 60
    graph = onnx.load(file).graph
    weights = [numpy_helper.to_array(each) for each in graph.initializer if each.data_type == TensorProto.INT8]
    assert sorted(each.ndim for each in weights if each.ndim > 1) == [2, 4], "of the linear layer and the convolution"
    assert max(np.abs(each.astype(int)).max() for each in weights) == 64
    (logits,) = runtimes.open_file(file)(images.numpy())
    assert len(np.unique(logits)) > 150, "of 192, where 8 bits give a few dozens"
    assert logits == pytest.approx(net(images).detach().numpy(), abs=0.05)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_exported_normalisation_has_the_bits_of_the_training(channels):
    pixels = torch.from_numpy(random_pixels(4, channels=channels))
    mean, std = [0.1307, 0.4914, 0.2][:channels], [0.3081, 0.2023, 0.7][:channels]
    graph = exported_graph(nn.Flatten(), mean, std, preprocessing=True)
    _, logits = graph(pixels)
    assert torch.equal(logits, Normalize(mean, std)(pixels).flatten(1))


def test_the_exported_net_is_contiguous_and_the_trained_one_is_left_alone():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).to(memory_format=torch.channels_last).train()
    graph = exported_graph(net, [0.0], [1.0], preprocessing=False)
    assert all(each.is_contiguous() for each in graph.parameters())
    assert not graph.training
    assert net.training
    assert not next(net.parameters()).is_contiguous()


class Mixed(nn.Module):
    """Takes another way for bright images, in words that TorchScript does not know."""

    def forward(self, images: Tensor, **settings: bool) -> Tensor:
        return (-images if images.mean() > 0.9 else images).mean((2, 3))


def test_what_only_a_trace_could_hold_is_refused_unless_it_is_asked_for(tmp_path, caplog):
    example = torch.zeros(2, 1, 4, 4)
    with pytest.raises(
        ExportError, match=r"given torchscript, which cannot hold Mixed .*; try torchscript=trace"
    ) as said:
        formats.write("torchscript", Mixed(), example, tmp_path, method="auto", aot=False)
    assert "\n" not in str(said.value)
    formats.write("torchscript", Mixed(), example, tmp_path, method="trace", aot=False)
    assert "a trace holds what it did for two inputs, and may do that for all others too" in caplog.text


@pytest.mark.parametrize("format", some(["onnx", "pt2", "torchscript"], "torchscript"))
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, format):
    net, before = nn.Sequential(nn.Flatten(), nn.Linear(4096, 10)), resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(OSError, match="File too large") as raised:
            formats.write(format, net.eval(), torch.zeros(2, 1, 64, 64), tmp_path, method="auto", aot=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handled)
    assert raised.value.filename == str(tmp_path / FILES[format])


def test_one_output_for_the_jobs_of_a_sweep_is_refused(finished, monkeypatch, tmp_path):
    monkeypatch.setattr("kindling.export.in_sweep", lambda: True)
    with pytest.raises(ConfigError, match=r"output: given .* to each job of --multirun; leave it out"):
        export_run(finished, f"output={tmp_path}/model")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", None),
        ("std", [0.0]),
        ("std", [float("nan")]),
        ("classes", None),
        ("classes", ["a", "a"]),
        ("classes", ["\udcff", *"123456789"]),
        ("channels", 3),
        ("image_size", 0),
        ("preprocessing", "yes"),
        ("unknown", 1),
        ("other", 1),
        ("kind", "rows"),
        ("kind", None),
    ],
)
def test_a_changed_description_is_refused_in_one_line(exported, tmp_path, key, value):
    shutil.copytree(exported, tmp_path / "model")
    file = tmp_path / "model" / "model.json"
    told = json.loads(file.read_text())
    (told if key in ("preprocessing", "unknown") else told["processor"])[key] = value
    file.write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match=r"model\.json: is damaged.*export the model anew"):
        model_folder.read(tmp_path / "model")
    file.write_text("[" * 200_000)
    with pytest.raises(CheckpointError, match=r"model\.json: is damaged"):
        model_folder.read(tmp_path / "model")


def parity_of(before: list[list[float]], after: list[list[float]], labels: list[int]) -> Parity:
    parity = Parity()
    parity.add(np.array(before), [np.array(after)], np.array(labels))
    return parity


def test_a_float_format_may_differ_by_rounding_alone():
    parity_of([[1, 0]], [[1.00009, 0]], [0]).refuse("onnx")
    with pytest.raises(ExportError, match=r"given onnx, which fails on 1 validation images: logits differ .* 1\.1e-04"):
        parity_of([[1, 0]], [[1.00011, 0]], [0]).refuse("onnx")
    with pytest.raises(ExportError, match="1 other predictions"):
        parity_of([[1e-5, 0]], [[0, 1e-5]], [0]).refuse("pt2")
    several = parity_of([[1, 0]], [[1.00011, 0]], [0])
    several.add(np.array([[1, 0]]), [np.array([[1, 0]])], np.array([0]))
    with pytest.raises(ExportError, match=r"fails on 2 validation images: .* 1\.1e-04"):
        several.refuse("onnx")
    with pytest.raises(ExportError, match="differ by at most nan"):
        parity_of([[1, 0]], [[1, float("nan")]], [0]).refuse("onnx")


def test_int8_may_lose_one_point_of_accuracy_and_gain_any():
    labels = [0] * 100
    right = [[1.0, 0.0]] * 100
    parity_of(right, [*right[1:], [0.0, 9.0]], labels).refuse("int8")
    parity_of([*right[2:], [0.0, 1.0], [0.0, 1.0]], right, labels).refuse("int8")
    with pytest.raises(ExportError, match=r"accuracy 1\.0000 in PyTorch, 0\.9800 exported; allowed: 1\.0 points"):
        parity_of(right, [*right[2:], [0.0, 9.0], [0.0, 9.0]], labels).refuse("int8")


def test_an_export_that_computes_something_else_leaves_no_folder_and_the_earlier_one(finished, monkeypatch):
    export_run(finished, "format=torchscript")
    folder = finished.folder / "export" / "torchscript"
    before = (folder / "model.json").read_bytes()
    monkeypatch.setattr("kindling.inference.exporting.parity.LARGEST_DIFFERENCE", -1)
    for target in ("torchscript", "new"):
        with pytest.raises(ExportError, match="fails on 64 validation images"):
            export_run(finished, "format=torchscript", f"output={finished.folder}/export/{target}")
    assert [path.name for path in folder.parent.iterdir()] == ["torchscript"]
    assert (folder / "model.json").read_bytes() == before


NAMED = ("model.json", NAMES)


def test_a_folder_takes_the_place_of_an_earlier_one_only_when_it_is_whole(tmp_path):
    target = tmp_path / "model"
    for text in ("first", "second"):
        with write_whole_folder(target, *NAMED) as folder:
            (folder / "model.json").write_text(text)
            assert target.exists() == (text == "second")
    writing = write_whole_folder(target, *NAMED)
    (writing.__enter__() / "model.json").write_text("third")
    assert not writing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None), "it goes on to the caller"
    assert (target / "model.json").read_text() == "second"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_whose_place_cannot_be_taken_stays(tmp_path, monkeypatch):
    target, rename = tmp_path / "model", Path.rename
    with write_whole_folder(target, *NAMED) as folder:
        (folder / "model.json").write_text("first")

    def fail_for_the_new(self: Path, to: Path) -> Path:
        if self == folder:
            raise OSError("disk")
        return rename(self, to)

    with pytest.raises(OSError, match="disk"), write_whole_folder(target, *NAMED) as folder:
        monkeypatch.setattr(Path, "rename", fail_for_the_new)
    assert (target / "model.json").read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_nothing_but_an_earlier_export_is_replaced(tmp_path):
    things = {name: tmp_path / name for name in ("file", "link", "other", "more", "deep")}
    things["file"].write_text("mine")
    things["link"].symlink_to(tmp_path)
    for name in ("other", "more"):
        things[name].mkdir()
        (things[name] / "notes.txt").write_text("mine")
    (things["more"] / "model.json").write_text("{}")
    (things["deep"] / "README.md").mkdir(parents=True)
    (things["deep"] / "model.json").write_text("{}")
    says = {"file": "is a file", "link": "is a link", "other": "holds notes.txt", "more": "holds notes.txt"}
    says["deep"] = "holds README.md/"
    for name, path in things.items():
        with pytest.raises(ConfigError, match=f"output: given {path}, which {says[name]}; allowed: a new folder"):
            write_whole_folder(path, *NAMED).__enter__()


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, alive = tmp_path / f".model.{dead.pid}.tmp", tmp_path / f".model.{os.getppid()}.tmp"
    for folder in (left, alive):
        folder.mkdir()
    aside = tmp_path / f".model.{dead.pid}.tmp.old.tmp"  # killed between the two renames
    aside.mkdir()
    (aside / "model.json").write_text("first")
    with pytest.raises(ZeroDivisionError), write_whole_folder(tmp_path / "model", *NAMED):
        raise ZeroDivisionError
    assert not left.exists()
    assert alive.exists(), "another export may be at work"
    assert (tmp_path / "model" / "model.json").read_text() == "first"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["run=null"], "neither run nor ckpt"),
        (["format=tflite"], "format: given 'tflite'; allowed: onnx or pt2 or torchscript or int8"),
        (["threads=0"], "threads: given 0; allowed: 1 or more"),
        (["aot=true"], "aot: given true with format=onnx; allowed: format=pt2, or aot=false"),
        (["output=s3://bucket/model"], "output: given s3://bucket/model; allowed: a path on this machine"),
    ],
)
def test_wrong_arguments_are_answered_with_what_is_allowed(finished, overrides, message):
    with pytest.raises(ConfigError, match=message):
        export_run(finished, *overrides)


def test_a_package_that_is_missing_is_named_with_its_extra(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"onnxscript is not installed; run: pip install -e '\./engine\[export\]' -c"):
        export_run(finished)


def test_a_missing_compiler_is_named(finished, monkeypatch):
    monkeypatch.setattr("kindling.export.compiler", lambda: None)
    with pytest.raises(ConfigError, match="without a C\\+\\+ compiler; install g\\+\\+ or clang"):
        export_run(finished, "format=pt2", "aot=true")


def test_without_validation_images_nothing_is_proven_and_nothing_exported(finished, monkeypatch):
    from kindling.images.datamodule import ImageDataModule, Splits

    def none_of(data: ImageDataModule) -> Splits:
        splits = data.read()
        return Splits(splits.train, splits.val.take(torch.arange(0)), splits.test, splits.classes)

    monkeypatch.setattr(ImageDataModule, "splits", property(none_of))
    with pytest.raises(DataError, match="the val split is empty"):
        export_run(finished, "format=torchscript")
    assert not list((finished.folder / "export").iterdir())


@pytest.mark.slow
def test_colour_images_of_two_classes_in_a_moved_folder_are_exported(train_run, make_tree, tmp_path, caplog):
    tree = make_tree(classes="ab", images=20)
    run = train_run(
        *("data=image_folder", f"data.root={tree}", f"data.cache_dir={tmp_path}/cache", "data.batch_size=8"),
        *("model=cnn", "callbacks=[default,ema]", "trainer.precision=bf16-mixed"),
    )
    moved = tree.rename(tmp_path / "moved")
    export_run(run)
    assert "if it has moved, data.root=PATH; the export is compared with PyTorch on made-up inputs" in caplog.text
    assert model_folder.read(run.folder / "export" / "onnx").about["parity"]["inputs"] == "made-up"
    export_run(run, f"data.root={moved}")
    assert "inputs" not in model_folder.read(run.folder / "export" / "onnx").about["parity"]
    described, compute = runtimes.open_model(run.folder / "export" / "onnx")
    assert (described.processor["classes"], described.processor["channels"]) == (["a", "b"], 3)
    pixels = random_pixels(3, described.processor["image_size"], 3)
    expected = kindling.load(run.folder, device="cpu").probabilities(pixels)
    assert np.abs(compute(pixels) - expected.numpy()).max() < 1e-6


def test_latencies_are_medians_of_rounds_in_which_each_has_its_turn(monkeypatch):
    order = []
    monkeypatch.setattr(timing, "ROUNDS", 3)
    seconds = iter([9.0, 1.0, 2.0, 1.0, 3.0, 1.0] * 2)
    monkeypatch.setattr(timing, "_calls", lambda variant, batch: 1)
    monkeypatch.setattr(timing, "_clocked", lambda variant, batch, calls: order.append(len(batch)) or next(seconds))
    found = timing.latencies({"a": len, "b": len}, random_pixels(2))
    assert found == {"a": {1: 3.0, 64: 3.0}, "b": {1: 1.0, 64: 1.0}}
    assert order == [1] * 6 + [64] * 6


@pytest.mark.slow
def test_compiled_machine_code_lies_beside_the_pt2(finished):
    export_run(finished, "format=pt2", "aot=true", "benchmark=true")
    folder = finished.folder / "export" / "pt2"
    told = json.loads((folder / "model.json").read_text())["about"]
    assert told["aot_sha256"] == model_folder.sha256_of(folder / "model-aot.pt2")
    assert told["benchmark"].keys() == {"threads", "PyTorch", "model.pt2", "model-aot.pt2"}
