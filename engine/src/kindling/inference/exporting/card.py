"""The README.md of weights as safetensors: a model card."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kindling.config import project
from kindling.data.examples import num_examples
from kindling.data.processor import classes_of
from kindling.errors import DataError
from kindling.files.names import encodable
from kindling.inference import weights_folder
from kindling.inference.exporting.readme import preprocessing_words
from kindling.inference.exporting.trained import Trained
from kindling.inference.model_folder import ModelFolder
from kindling.inference.origin import run_folder
from kindling.run_folders.saved_run import run_of
from kindling.stages import STAGES
from kindling.training.rebuild import without_downloads

# Classes that are named.
MOST_CLASSES = 20
PIPELINES = {"image": "image-classification", "rows": "tabular-classification", "text": "text-generation"}
# What each kind of number of a file of safetensors is in torch.
KINDS = '{"F32": torch.float32, "I64": torch.int64, "BOOL": torch.bool}'
TEXT = """\
---
library_name: pytorch
{pipeline}tags: [kindling, safetensors]
---
# {name}

The weights of a trained model, and what it takes to use them.

| file | what is in it |
|---|---|
| `model.safetensors` | the weights of the net as float32; nothing that could run |
| `config.json` | the settings of the training, from which the net is built |
| `model.json` | how an input is read and an output written, the metrics, checksums, versions |

## Use

With Kindling, in the project that has the model's class:

```python
import kindling
print(kindling.load(".").predict(input))
```

{plain}
{takes}

## Metrics

{metrics}

## Data

{data}

## Training

{training}

## Limits

{limits}
"""
PLAIN = """\
With torch alone; `safetensors.torch.load_file` gives the same weights:

```python
{lines}
```
"""


def card(trained: Trained, described: ModelFolder, folder: Path, checkpoint: Path) -> str:
    """
    Args:
        trained: what was exported.
        described: model.json.
        folder: with the weights and their config.
        checkpoint: that they come from.
    """
    config = json.loads((folder / weights_folder.CONFIG).read_text(encoding="utf-8"))["config"]
    run = run_folder(checkpoint)
    record = (run_of(run) if run else None) or {}
    lines = plain_lines(config)
    has_pipeline = described.processor["kind"] != "rows" or classes_of(trained.processor)
    return TEXT.format(
        name=described.about["name"] or checkpoint.stem,
        pipeline=f"pipeline_tag: {PIPELINES[described.processor['kind']]}\n" if has_pipeline else "",
        plain=PLAIN.format(lines="\n".join(lines)) if lines else "",
        takes=preprocessing_words(described),
        metrics="\n".join(_metrics(described.about)),
        data="\n".join(_data(trained, config)),
        training="\n".join(_training(config, record)),
        limits="\n".join(_limits(trained, described.about)),
    )


def plain_lines(config: Mapping[str, Any]) -> list[str]:
    """Five lines of torch that load the weights; none for a net that takes more to be built than a class."""
    model = without_downloads(dict(config.get("model") or {}))
    target = str(model.pop("_target_", ""))
    is_plain = target and not any(key.startswith("_") for key in model) and "_target_" not in json.dumps(model)
    if not is_plain:
        return []
    module, _, name = (project.current().package + target if target.startswith(".") else target).rpartition(".")
    arguments = ", ".join(f"{key}={value!r}" for key, value in model.items())
    return [
        f"import json, pathlib, torch; from {module} import {name}",
        'raw = pathlib.Path("model.safetensors").read_bytes(); start = 8 + int.from_bytes(raw[:8], "little")',
        f"described, kinds = json.loads(raw[8:start]), {KINDS}",
        'weights = {name: torch.frombuffer(bytearray(raw[start + each["data_offsets"][0] : start + '
        'each["data_offsets"][1]]), dtype=kinds[each["dtype"]]).reshape(each["shape"]) '
        'for name, each in described.items() if name != "__metadata__"}',
        f"net = {name}({arguments}); net.load_state_dict(weights); net.eval()",
    ]


def _metrics(about: Mapping[str, Any]) -> Iterator[str]:
    if metrics := about.get("metrics"):
        yield "| metric | value |"
        yield "|---|---|"
        yield from (f"| {name} | {value:.4g} |" for name, value in metrics.items())
        return
    yield "Not known: the weights come from a checkpoint that was not tested."


def _data(trained: Trained, config: Mapping[str, Any]) -> Iterator[str]:
    data = config.get("data") or {}
    yield f"- set: {_own(data.get('root') or str(data.get('_target_')).rpartition('.')[2])}"
    counts = _counts(trained.data)
    yield f"- examples: {', '.join(counts)}" if counts else "- examples: not known, as the data was gone at the export"
    if classes := classes_of(trained.processor):
        more = f" and {len(classes) - MOST_CLASSES} more" if len(classes) > MOST_CLASSES else ""
        yield f"- {len(classes)} classes: {', '.join(map(_own, classes[:MOST_CLASSES]))}{more}"
    for key in ("image_size", "channels", "val_fraction", "test_fraction"):
        if key in data:
            yield f"- {key}: {data[key]}"


def _counts(data: Any) -> list[str]:
    found = []
    for name in STAGES:
        examples = getattr(getattr(data, "splits", None), name, None)
        try:
            found += [] if examples is None else [f"{num_examples(examples)} {name}"]
        except DataError:
            continue
    return found


def _training(config: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[str]:
    if command := record.get("command"):
        yield f"- command: `{_without_places(str(command)).replace('`', '')}`"
    yield f"- seed: {config.get('seed')}"
    if commit := (record.get("git") or {}).get("commit"):
        yield f"- commit: `{commit}`"
    if versions := record.get("versions"):
        yield f"- versions: {', '.join(f'{name} {version}' for name, version in versions.items())}"
    if seconds := (record.get("timings") or {}).get("total_s"):
        yield f"- time: {seconds:.0f} s on {(record.get('hardware') or {}).get('processor')}"


def _without_places(command: str) -> str:
    """A command line without paths of this machine."""
    arguments = [each.partition("=") for each in shlex.split(command)]
    kept = [(key if equals else Path(key).name, equals, value) for key, equals, value in arguments]
    return shlex.join(key + equals + weights_folder.without_places(value) for key, equals, value in kept)


def _limits(trained: Trained, about: Mapping[str, Any]) -> Iterator[str]:
    if about.get("metrics"):
        yield "- The metrics are of one run with one seed, on data of the same origin as the training's."
    yield "- Nobody has measured it on other data, nor who is harmed by its mistakes."
    if classes := classes_of(trained.processor):
        yield f"- It answers with one of its {len(classes)} classes whatever it is given, also what is none of them."
    yield "- No licence is stated: that is for those to say who own the data and the weights."


def _own(text: Any) -> str:
    """A name that may hold any character."""
    return "`" + " ".join(encodable(str(text)).replace("`", "'").split()) + "`"
