"""Odd files through each way in, from training's decoding to the lines beside an exported model: one label."""

import csv
import os
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kindling
from kindling.cli.entry import compose
from kindling.export import export
from kindling.images.decoder import Decoder
from kindling.predict import predict
from kindling.testing import sets
from kindling.train import train
from odd_files import UNKNOWN_TO_ARRAYS, odd_files
from serving import files as uploads
from serving import serving

SIZE, CHANNELS = 24, 3
ENDINGS = {"PPM": ".pnm", "MPO": ".jpg"}
# The README's lines for each of many files, in a process that knows no Kindling.
FOR_EACH = "import sys; sys.modules['kindling'] = None; files = sys.argv[1:]\nfor file in files:\n sys.argv[1] = file\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    root = sets.make_tree(folder / "tree", size=SIZE, channels=CHANNELS)
    settings = ["data=image_folder", f"data.root={root}", f"data.cache_dir={folder}/cache", "data.batch_size=8"]
    small = ["model=cnn", "trainer=cpu", "trainer.max_epochs=1", "trainer.log_every_n_steps=1", "logger=csv"]
    cfg = compose([*settings, *small, f"paths.logs={folder}/logs"])
    train(cfg)
    return Path(cfg.paths.run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = []
    for name, content in odd_files().items():
        (folder / "unnamed").write_bytes(content)
        with Image.open(folder / "unnamed") as image:
            ending = ENDINGS.get(str(image.format), f".{str(image.format).lower()}")
        paths.append((folder / "unnamed").rename(folder / f"{name}{ending}"))
    return sorted(paths)


@pytest.mark.slow
def test_a_hundred_odd_files_have_one_label_whichever_way_they_come_in(run, folder, tmp_path):
    export(compose([f"run={run}", f"output={tmp_path}/onnx", "benchmark=false"], name="export"))
    predictor = kindling.load(run, device="cpu")
    decoder = Decoder(predictor.processor.decoding, folder, clip=True)
    pixels = np.stack([decoder(path).numpy() for path in folder])
    expected = predictor.probabilities(pixels).numpy()

    ways = {
        "a path": predictor.predict([str(path) for path in folder], "probabilities").numpy(),
        "bytes": predictor.predict([path.read_bytes() for path in folder], "probabilities").numpy(),
        "an image of Pillow": predictor.predict(
            [Image.open(BytesIO(path.read_bytes())) for path in folder], "probabilities"
        ).numpy(),
        "predict.py": by_predict(run, folder, tmp_path),
        "beside the exported model": by_readme(tmp_path / "onnx", folder),
        "serve, a checkpoint": by_serve(f"run={run}", folder, tmp_path),
        "serve, an exported folder": by_serve(f"model={tmp_path}/onnx", folder, tmp_path),
    }
    assert len(folder) >= 100
    for way, found in ways.items():
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=way)
        np.testing.assert_array_equal(found.argmax(1), expected.argmax(1), way)
    for path, row in zip(folder, expected, strict=True):
        with Image.open(path) as image:
            is_known = not any(each in path.name for each in UNKNOWN_TO_ARRAYS)
            if is_known and image.mode in ("1", "L", "LA", "RGB", "RGBA", "I;16", "F"):
                found = predictor.predict(np.asarray(image), "probabilities").numpy()
                np.testing.assert_allclose(found, row, atol=1e-4, err_msg=f"an array: {path.name}")


def by_predict(run: Path, folder: list[Path], home: Path) -> np.ndarray:
    output = home / "predictions.csv"
    predict(compose([f"run={run}", f"input={folder[0].parent}", f"output={output}", "device=cpu"], name="predict"))
    with output.open() as stream:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(stream)}
    assert not [row["error"] for row in rows.values() if row["error"]]
    return np.array([[float(rows[path.name][f"probability_{name}"]) for name in "abc"] for path in folder])


def by_readme(model: Path, folder: list[Path]) -> np.ndarray:
    (code,) = re.findall(r"```python\n(.*?)```", (model / "README.md").read_text(), re.DOTALL)
    code = FOR_EACH + "".join(f" {line}\n" for line in code.splitlines()) + " print(*probabilities)\n"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, folder)]
    done = subprocess.run(command, cwd=model, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.array([list(map(float, line.split())) for line in done.stdout.splitlines()[1::2]])


def by_serve(model: str, folder: list[Path], home: Path) -> np.ndarray:
    with serving(home / "serve.log", model, "host=127.0.0.1") as server:
        answers = [server.client.post("/predict", files=uploads(path.read_bytes())) for path in folder]
    refused = {
        path.name: answer.text for path, answer in zip(folder, answers, strict=True) if answer.status_code != 200
    }
    assert not refused
    found = [answer.json()["predictions"][0]["probabilities"] for answer in answers]
    return np.array([[each[name] for name in "abc"] for each in found])
