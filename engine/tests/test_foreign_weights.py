"""weights= of files that another program has written."""

import json
import struct
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from kindling.checkpoints import checkpoint
from kindling.checkpoints.foreign_weights import load_foreign, read_foreign
from kindling.checkpoints.safetensors import read_safetensors
from kindling.errors import CheckpointError, ConfigError
from kindling.training.initial_state import begin_with
from kindling.training.rebuild import rebuild

DTYPES = {torch.float32: "F32", torch.int64: "I64", torch.bfloat16: "BF16"}
SMALL = ["model=mlp", "model.hidden=[3]", "data.image_size=8", "data.num_images=32", "trainer.max_epochs=1"]


class Small(nn.Sequential):
    def __init__(self, outputs: int = 2):
        super().__init__(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, outputs))


class Wrapped(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = Small()


def write_safetensors(file, tensors: dict[str, torch.Tensor]) -> None:
    header, numbers = {"__metadata__": {"format": "pt"}}, b""
    for name, each in tensors.items():
        data = each.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        place = [len(numbers), len(numbers) + len(data)]
        header[name] = {"dtype": DTYPES[each.dtype], "shape": list(each.shape), "data_offsets": place}
        numbers += data
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + numbers)


class Tied(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight


@pytest.mark.parametrize("lacks", ["embed.weight", "head.weight"])
def test_tied_weights_that_a_file_holds_under_one_name_are_whole(tmp_path, caplog, lacks):
    caplog.set_level("INFO")
    given, module = Tied(), Tied()
    file = tmp_path / "tied.safetensors"
    write_safetensors(file, {name: each for name, each in given.state_dict().items() if name != lacks})
    begin_with(module, file, False)
    assert torch.equal(module.head.weight, given.embed.weight)
    assert "weights: 2 of the net's 2 tensors fit" in caplog.text
    assert "missing" not in caplog.text


@pytest.mark.parametrize("trains", [True, False])
def test_weights_fit_layers_that_wait_for_their_first_input(tmp_path, trains):
    net = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2))
    net(torch.zeros(1, 7))
    module = Wrapped()
    module.model = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2))  # pyright: ignore[reportAttributeAccessIssue]
    torch.save(net.state_dict(), tmp_path / "net.pt")
    begin_with(module, tmp_path / "net.pt", trains)
    assert all(map(torch.equal, net.state_dict().values(), module.model.state_dict().values()))


@pytest.mark.parametrize("within", [None, "state_dict", "model_state_dict", "safetensors"])
@pytest.mark.parametrize("prefix", ["", "net.", "model.", "module.", "_orig_mod.", "module.net._orig_mod."])
@pytest.mark.parametrize("kind", [Small, Wrapped])
def test_weights_fit_whatever_stands_before_their_names(tmp_path, caplog, within, prefix, kind):
    caplog.set_level("INFO")
    given, net = Small(), kind()
    tensors = {f"{prefix}{name}": each for name, each in given.state_dict().items()}
    file = tmp_path / ("net.safetensors" if within == "safetensors" else "net.pt")
    if within == "safetensors":
        write_safetensors(file, tensors)
    else:
        torch.save({within: tensors, "epoch": 3, "optimizer": {"state": {}}} if within else tensors, file)
    weights = read_foreign(file)
    assert weights is not None
    load_foreign(net, weights, file, whole=True)
    assert all(map(torch.equal, given.state_dict().values(), net.state_dict().values()))
    assert "weights: 9 of the net's 9 tensors fit" in caplog.text


def test_what_is_missing_and_what_is_left_over_is_said(tmp_path, caplog):
    weights = {f"net.{name}": each for name, each in Small(outputs=5).state_dict().items()}
    del weights["net.0.bias"]
    net, weights["criterion.weight"] = Small(), torch.ones(2)
    before = net.state_dict()["2.weight"].clone()
    load_foreign(net, weights, tmp_path, whole=False)
    assert "6 of the net's 9 tensors fit; 3 missing: 0.bias, 2.weight, 2.bias; " in caplog.text
    assert "3 left over: net.2.weight, net.2.bias, criterion.weight" in caplog.text
    assert torch.equal(net[0].weight, weights["net.0.weight"])
    assert torch.equal(net[2].weight, before)
    with pytest.raises(CheckpointError, match=r"of another model \(6 of the net's 9 tensors fit"):
        load_foreign(net, weights, tmp_path, whole=True)


def test_a_checkpoint_whose_weights_are_no_numbers_is_told_of_by_whatever_rebuilds_it(caplog):
    path = Path(__file__).parent / "old_runs" / "format_5" / "checkpoints" / "best.ckpt"
    saved = checkpoint.load(path)
    assert not caplog.messages
    next(each for each in saved["state_dict"].values() if each.is_floating_point()).view(-1)[0] = torch.nan
    rebuild(saved, path)
    assert "warning: weights: 1 of " in caplog.text
    assert "values are NaN or infinite, in net." in caplog.text


def test_weights_of_which_nothing_fits_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="of another model"):
        load_foreign(Small(), {"conv.weight": torch.zeros(7)}, tmp_path, whole=False)


def test_a_file_without_weights_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"holds no weights; allowed: a checkpoint of train\.py, a state_dict"):
        read_foreign(tmp_path / "a.pt")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"state_dict": {"weight": print}}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"no whole checkpoint .*; allowed: tensors, numbers and texts alone, as"):
        read_foreign(tmp_path / "a.pt")


def test_a_file_of_torch_before_archives_says_how_to_save_it_anew(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"torch\.save\(torch\.load\(FILE, weights_only=True\), FILE\)$"):
        read_foreign(tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes(b"no such file")
    with pytest.raises(CheckpointError, match=r"\(File is not a zip file\)$"):
        read_foreign(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text, numbers: text[:-1] + numbers, "no whole safetensors file"),
        (lambda text, numbers: text + numbers[:-1], "over each other, or its end"),
        (lambda text, numbers: struct.pack("<Q", 2**60) + text[8:] + numbers, "a list of"),
        (lambda text, numbers: text.replace(b"[3]", b"[4]") + numbers, "does not lie where it should"),
        (lambda text, numbers: text.replace(b"F32", b"F99") + numbers, "is of F99"),
        (lambda text, numbers: text.replace(b"[0, 12]", b"[-4, 8]"[:7].ljust(7)) + numbers, "does not lie|expected|no"),
    ],
)
def test_a_damaged_safetensors_file_is_refused(tmp_path, change, reason):
    file = tmp_path / "a.safetensors"
    write_safetensors(file, {"a": torch.arange(3.0)})
    whole = file.read_bytes()
    file.write_bytes(change(whole[:-12], whole[-12:]))
    with pytest.raises(CheckpointError, match=reason):
        read_safetensors(file)


def test_a_run_begins_with_a_state_dict(train_run, caplog, config, tmp_path):
    origin = train_run(*SMALL, "test=false")
    weights = {name.removeprefix("net."): each for name, each in origin.weights().items() if name.startswith("net.")}
    torch.save({"model_state_dict": {f"model.{name}": each for name, each in weights.items()}}, tmp_path / "a.pt")
    run = train_run(*SMALL, "test=false", "optimizer.lr=0", f"weights={tmp_path}/a.pt")
    assert all(torch.equal(run.weights()[f"net.{name}"], each) for name, each in weights.items())
    with pytest.raises(ConfigError, match=r"weights: given .*b\.pt, which does not exist"):
        train_run(*SMALL, f"weights={tmp_path}/b.pt")


def test_weights_that_are_no_numbers_are_told_with_how_many(tmp_path, caplog):
    weights = Small().state_dict()
    weights["0.weight"][:2] = float("nan")
    weights["2.bias"][0] = float("inf")
    weights["1.running_mean"][0] = float("inf")
    torch.save({f"model.{name}": each for name, each in weights.items()}, tmp_path / "x.pt")
    begin_with(Wrapped(), tmp_path / "x.pt", trains=True)
    assert "weights: 7 of 34 values are NaN or infinite, in model.0.weight, model.2.bias; give another" in caplog.text
