"""The README.md of a model folder: how to use it without Kindling."""

from kindling.inference.model_folder import FILES, ModelFolder

RUN = {
    "onnx": """\
session = onnxruntime.InferenceSession("model.onnx")
outputs = session.run(None, {{"{name}": {value}}})""",
    "pt2": """\
net = torch.export.load("model.pt2").module()
outputs = net(torch.from_numpy({value}))""",
    "torchscript": """\
net = torch.jit.load("model.pt")
outputs = net(torch.from_numpy({value}))""",
}
RUN["int8"] = RUN["onnx"]
TEXT = """\
# {title}

{about}

{takes}

```python
{sample}
```

Run it in this folder, with the path of an image. `model.json` has classes, sizes, the training's metrics, versions,
and how the model compares with the one that was trained.
"""


def sample(described: ModelFolder) -> str:
    """About ten lines that load the model and classify an image."""
    size, mode = described.image_size, "L" if described.channels == 1 else "RGB"
    package = "onnxruntime" if FILES[described.format].endswith(".onnx") else "torch"
    lines = [
        "import json, sys",
        f"import numpy as np, {package}",
        "from PIL import Image, ImageOps",
        "",
        'classes = json.load(open("model.json", encoding="utf-8"))["classes"]',
        f'image = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("{mode}")  # 16 bits need scaling before',
        f"image = ImageOps.fit(image, ({size}, {size}), Image.Resampling.BILINEAR)",
        f"pixels = np.array(image).reshape(1, {size}, {size}, {described.channels})",
    ]
    name, value = "pixels", "pixels"
    if not described.preprocessing:
        name = value = "images"
        lines.append(
            f"images = (pixels / np.float32(255) - np.float32({described.mean})) / np.float32({described.std})"
        )
        lines.append("images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))")
    lines.append(RUN[described.format].format(name=name, value=value))
    if described.preprocessing:
        lines.append("probabilities = np.asarray(outputs[0])[0]")
    else:
        first = "outputs[0]" if package == "onnxruntime" else "outputs"
        lines.append(f"logits = np.asarray({first})[0]")
        lines.append("probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()")
    return "\n".join([*lines, "print(classes[probabilities.argmax()], probabilities.max())"])


def readme(described: ModelFolder, proof: str) -> str:
    size, channels, classes = described.image_size, described.channels, len(described.classes)
    if described.preprocessing:
        takes = (
            f"Takes `pixels` (B, {size}, {size}, {channels}) uint8; gives `probabilities` and `logits`, "
            f"both (B, {classes}) float32. The normalisation is inside."
        )
    else:
        takes = (
            f"Takes `images` (B, {channels}, {size}, {size}) float32, normalised by `mean` and `std` of `model.json`; "
            f"gives `logits` (B, {classes}) float32."
        )
    about = f"`{FILES[described.format]}`, format {described.format}; {proof}."
    return TEXT.format(title="An exported model", about=about, takes=takes, sample=sample(described))
