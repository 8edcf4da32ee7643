"""The README.md of a model folder: how to use it without Kindling."""

from collections.abc import Iterator
from typing import Any

from kindling.inference.model_folder import FILES, ModelFolder

OPEN = {
    "onnx": 'session = onnxruntime.InferenceSession("model.onnx")',
    "pt2": 'net = torch.export.load("model.pt2").module()',
    "torchscript": 'net = torch.jit.load("model.pt")',
}
OPEN["int8"] = OPEN["onnx"]
TEXT = """\
# An exported model

{about}

{takes}

```python
{sample}
```

Run it in this folder, with {argument}. `model.json` has {holds}, the training's metrics, versions,
and how the model compares with the one that was trained.
"""
OWN = """\
# An exported model

{about}

{takes}

```python
{sample}
```

Run it in this folder. In the project that it was exported in, `serve.py model=<this folder>` serves it.
"""
MODEL = 'model = json.load(open("model.json", encoding="utf-8"))["processor"]'
DECODING = "`decoding.py` makes the same pixels of a file, an image of Pillow or an array as the training did."
SOFTMAX = "probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()"
# Of what sys.argv[1] is, and what model.json holds for it.
ARGUMENTS = {
    "image": ("the path of an image", "classes, sizes"),
    "rows": ("a row as JSON", "the columns, what they are scaled by"),
    "text": ("the beginning of a text", "the characters that it knows"),
}


def readme(described: ModelFolder, proof: str) -> str:
    kind = described.processor["kind"]
    takes, lines = {"image": (_takes_images, _image), "rows": (_takes_rows, _rows), "text": (_takes_text, _text)}[kind]
    about = f"`{FILES[described.format]}`, format {described.format}; {proof}."
    if "_target_" in described.processor:
        return OWN.format(about=about, takes=_takes_own(described), sample="\n".join(_own(described)))
    return TEXT.format(
        about=about,
        takes=takes(described),
        sample="\n".join(lines(described)),
        argument=ARGUMENTS[kind][0],
        holds=ARGUMENTS[kind][1],
    )


def preprocessing_words(described: ModelFolder) -> str:
    """What the model takes and gives."""
    if "_target_" in described.processor:
        return _takes_own(described)
    return {"image": _takes_images, "rows": _takes_rows, "text": _takes_text}[described.processor["kind"]](described)


def _package(described: ModelFolder) -> str:
    return "onnxruntime" if FILES[described.format].endswith(".onnx") else "torch"


def _outputs(described: ModelFolder, name: str, number: str = "") -> str:
    """The call; `number` of the outputs, if the model has several."""
    if _package(described) == "onnxruntime":
        return f'session.run(None, {{"{name}": {name}}})[0]'
    return f"net(torch.from_numpy({name})){number}.numpy()"


def _takes_own(described: ModelFolder) -> str:
    target, takes = described.processor["_target_"], described.about["takes"]
    shape = ", ".join(map(str, takes["shape"]))
    return (
        f"Takes `{_name_of_input(described)}` (B, {shape}) {takes['dtype']}, as `{target}` of the project reads them; "
        "gives what it writes."
    )


def _name_of_input(described: ModelFolder) -> str:
    return {"image": "images", "rows": "rows", "text": "ids"}[described.processor["kind"]]


def _own(described: ModelFolder) -> Iterator[str]:
    """Lines that load the model and compute inputs of zeros."""
    name, takes = _name_of_input(described), described.about["takes"]
    yield f"import numpy as np, {_package(described)}"
    yield ""
    yield OPEN[described.format]
    yield f"{name} = np.zeros((1, {', '.join(map(str, takes['shape']))}), dtype=np.{takes['dtype']})"
    yield f"print({_outputs(described, name)}.shape)"


def _takes_images(described: ModelFolder) -> str:
    size, channels = (described.processor[name] for name in ("image_size", "channels"))
    classes = len(described.processor["classes"])
    if described.preprocessing:
        return (
            f"Takes `pixels` (B, {size}, {size}, {channels}) uint8; gives `probabilities` and `logits`, "
            f"both (B, {classes}) float32. The normalisation is inside. {DECODING}"
        )
    return (
        f"Takes `images` (B, {channels}, {size}, {size}) float32, normalised by `mean` and `std` of `model.json`; "
        f"gives `logits` (B, {classes}) float32. {DECODING}"
    )


def _image(described: ModelFolder) -> Iterator[str]:
    """About ten lines that load the model and classify an image."""
    mean, std = (described.processor[name] for name in ("mean", "std"))
    yield "import json, sys"
    yield f"import numpy as np, {_package(described)}"
    yield "from decoding import Decoding"
    yield ""
    yield MODEL
    yield "pixels = Decoding.of(model).file(sys.argv[1])[np.newaxis]"
    yield OPEN[described.format]
    if described.preprocessing:
        yield f"probabilities = {_outputs(described, 'pixels', '[0]')}[0]"
    else:
        yield f"images = (pixels / np.float32(255) - np.float32({mean})) / np.float32({std})"
        yield "images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))"
        yield f"logits = {_outputs(described, 'images')}[0]"
        yield SOFTMAX
    yield 'print(model["classes"][probabilities.argmax()], probabilities.max())'


def _takes_rows(described: ModelFolder) -> str:
    processor = described.processor
    scaled = " less `mean`, divided by `std` of `model.json`" if processor["mean"] or processor["std"] else ""
    classes, outputs = len(processor["classes"]), len(processor["outputs"])
    gives = f"`logits` (B, {classes})" if classes else f"`outputs`, {outputs} for each row"
    return f"Takes `rows` (B, {len(processor['columns'])}) float32{scaled}; gives {gives} float32."


def _rows(described: ModelFolder) -> Iterator[str]:
    """Lines that load the model and answer a row."""
    processor = described.processor
    yield "import json, sys"
    yield f"import numpy as np, {_package(described)}"
    yield ""
    yield MODEL
    yield f"row = json.loads(sys.argv[1])  # such as {_example(processor['columns'])}"
    value = 'row[each["name"]]'
    if any("choices" in each for each in processor["columns"]):
        value = f'each["choices"].index({value}) if "choices" in each else {value}'
    scaled = ' - model["mean"]' if processor["mean"] else ""
    values = f'np.array([[{value} for each in model["columns"]]]){scaled}'
    scaled = f'({values}) / model["std"]' if processor["std"] else values
    yield f"rows = np.float32({scaled})"
    yield OPEN[described.format]
    if processor["classes"]:
        yield f"logits = {_outputs(described, 'rows')}[0]"
        yield SOFTMAX
        yield 'print(model["classes"][probabilities.argmax()], probabilities.max())'
        return
    scaled = ' * model["output_std"]' if processor["output_std"] else ""
    scaled += ' + model["output_mean"]' if processor["output_mean"] else ""
    yield f"outputs = np.ravel({_outputs(described, 'rows')}){scaled}"
    yield 'print(dict(zip([each["name"] for each in model["outputs"]], outputs.tolist())))'


def _example(columns: list[dict[str, Any]]) -> str:
    """The first of some columns, with values; the names may hold any character."""
    shown = [f"{each['name']!r}: {(each.get('choices') or [each.get('low', 0)])[0]!r}" for each in columns[:2]]
    text = ", ".join(shown).replace("'", '"').encode("unicode_escape").decode()
    return "{" + text + (", ...}" if len(columns) > 2 else "}")


def _takes_text(described: ModelFolder) -> str:
    processor = described.processor
    characters = len(processor["vocabulary"])
    return (
        f"Takes `ids` (B, T) int64, T up to {processor['block']}: of each character, its place in `vocabulary` of "
        f"`model.json`; gives `logits` (B, T, {characters}) float32 of what follows each."
    )


def _text(described: ModelFolder) -> Iterator[str]:
    """Lines that load the model and draw what follows a text."""
    yield "import json, sys"
    yield f"import numpy as np, {_package(described)}"
    yield ""
    yield MODEL
    yield OPEN[described.format]
    yield "text, draw = sys.argv[1], np.random.default_rng(0)"
    yield "for _ in range(200):"
    yield '    ids = np.array([[model["vocabulary"].index(each) for each in text[-model["block"] :]]], dtype=np.int64)'
    yield f"    logits = {_outputs(described, 'ids')}[0, -1].astype(np.float64)"
    yield '    order = np.argsort(-logits, kind="stable")  # the likeliest first'
    yield "    shares = np.cumsum(np.exp(logits[order] - logits.max()))"
    yield '    text += model["vocabulary"][order[np.searchsorted(shares / shares[-1], draw.random(), side="right")]]'
    yield "print(text)"
