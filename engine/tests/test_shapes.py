import json
import math
import re
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.models.cnn import CNN
from kindling.console import as_text
from kindling.debug.shapes import Shapes, numbers, shape, table, trace


def test_the_table_says_what_each_module_makes_of_a_batch(train_run, caplog):
    caplog.set_level("INFO")
    run = train_run("debug=shapes", "model=cnn", "data.batch_size=16")
    rows = {line.split()[0]: line.split() for line in caplog.text.splitlines() if line.strip()}
    assert rows["stages.0.0"][1:4] == ["Conv2d", "1×16×16", "16×16×16"]
    assert rows["head.1"][1:4] == ["Linear", "64", "10"]
    assert "a batch of 16 images of 1×16×16" in caplog.text
    assert "training ended" not in caplog.text
    assert {"config.yaml", "run.json"} <= {path.name for path in run.folder.iterdir()}
    assert not run.folder.joinpath("checkpoints").exists()


def test_a_run_whose_process_was_forked_ends_after_the_table_too(train_run):
    run = train_run("debug=shapes", "trainer.strategy=ddp_fork")
    assert json.loads((run.folder / "run.json").read_text())["status"] == "finished"


def test_an_error_before_the_first_batch_stays_what_it_is():
    module: Any = nn.Linear(1, 1)
    Shapes().on_exception(Trainer(logger=False, enable_checkpointing=False), module, KeyError())


def test_numbers_parameters_and_flops_are_those_by_hand():
    net, images = CNN(1, 3, [4], 0.0), torch.randn(8, 1, 6, 6)
    first = trace(net, images)[0]
    outputs = nn.functional.conv2d(images, net.get_parameter("stages.0.0.weight"), padding=1)
    expected = [outputs.min(), outputs.max(), outputs.mean(), outputs.std(correction=0)]
    assert first.numbers == pytest.approx([each.item() for each in expected], abs=1e-6)
    assert first.flops == 2 * 8 * 4 * 36 * 9
    assert as_text(table([first], "one batch")).splitlines()[3].split()[-2:] == ["36", "20.7K"]


def test_the_rows_are_the_calls_in_their_order_and_their_flops_add_up():
    net, images = CNN(1, 3, [4, 8], 0.0), torch.randn(8, 1, 6, 6)
    calls = trace(net, images)
    leaves = [name for name, module in net.named_modules() if not list(module.children())]
    assert [call.name for call in calls] == leaves
    with FlopCounterMode(display=False) as counter:
        net(images)
    assert sum(call.flops for call in calls) == counter.get_total_flops()


def test_nan_is_marked():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    nn.init.constant_(net.get_parameter("0.weight"), math.nan)
    row = re.sub(" +", " ", as_text(table(trace(net, torch.ones(2, 4)), "one batch")))
    assert "0 Linear 4 4 NaN NaN NaN NaN" in row


def test_a_pass_leaves_no_hooks():
    net = CNN(1, 3, [4], 0.5)
    assert trace(net, torch.randn(8, 1, 6, 6))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize("model", ["vit", "cnn"])
def test_each_model_has_its_table_within_a_hundred_columns(train_run, caplog, model):
    caplog.set_level("INFO")
    train_run("debug=shapes", f"model={model}", "data.image_size=28", "data.channels=3")
    lines = caplog.text[caplog.text.index("a batch of") :].splitlines()
    assert max(map(len, lines)) <= 100
    assert "…" not in "".join(line[44:] for line in lines[3:])  # all numbers are whole
    assert len(lines) > 10


def test_a_shape_is_that_of_the_first_tensor_without_the_batch():
    assert shape((None, torch.ones(2, 3, 4))) == (3, 4)
    assert shape(None) == ()


def test_a_shape_is_found_in_outputs_of_any_structure():
    outputs = {"scores": [None, torch.arange(6.0).view(2, 3)], "loss": torch.ones(())}
    assert shape(outputs) == (3,)
    assert numbers(outputs) == pytest.approx([0, 5, 2.5, torch.arange(6.0).std(correction=0).item()])
    assert numbers({"ids": torch.ones(2, dtype=torch.int64)}) == []
