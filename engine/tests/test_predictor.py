"""`kindling.load`: a run's model on images of any kind."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

import kindling
from kindling.checkpoints import checkpoint
from kindling.checkpoints.described import build, section
from kindling.errors import CheckpointError, ConfigError, DataError
from kindling.images.datamodule import ImageDataModule
from kindling.testing.runs import ONE_BATCH
from kindling.training.rebuild import rebuild
from long_run import some


@pytest.fixture(scope="module")
def predictor(trained):
    return kindling.load(trained.folder, device="cpu")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16), dtype=np.uint8)


def probabilities(predictor, images, **settings) -> torch.Tensor:
    return predictor.predict(images, "probabilities", **settings)


@pytest.mark.parametrize("channels", some([1, 3], 3))
def test_a_file_is_prepared_as_an_image_of_the_validation_to_the_bit(train_run, make_tree, channels):
    tree = make_tree(splits=("train", "val"), channels=channels, size=20)
    run = train_run("experiment=mlp", "data=image_folder", f"data.root={tree}", *ONE_BATCH)
    found = kindling.load(run.folder / "checkpoints" / "last.ckpt", device="cpu")
    saved = checkpoint.load(run.folder / "checkpoints" / "last.ckpt")
    data = build(section(saved["description"]["config"], "data"), "data", ImageDataModule)
    ((batch, _),) = list(data.val_dataloader())
    files = sorted((tree / "val").rglob("*.png"))
    expected = rebuild(saved, tree).eval()(batch).softmax(1)
    assert torch.equal(probabilities(found, files), expected)


def test_each_kind_of_image_gives_the_same_probabilities(predictor, images, tmp_path):
    expected = probabilities(predictor, images[:, None])
    assert expected.shape == (5, 10)
    assert expected.sum(1).tolist() == pytest.approx([1] * 5)
    encoded = []
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
        encoded.append((tmp_path / f"{index}.png").read_bytes())
    colour = np.stack([images] * 3, axis=-1)
    kinds = {
        "paths": sorted(tmp_path.iterdir()),
        "names": [str(path) for path in sorted(tmp_path.iterdir())],
        "bytes": encoded,
        "PIL": [Image.open(BytesIO(each)) for each in encoded],
        "(N, H, W, 1)": images[..., None],
        "(N, H, W, 3)": colour,
        "(N, 3, H, W)": colour.transpose(0, 3, 1, 2),
        "float64": images[..., None] / 255,
        "tensors": torch.from_numpy(images[:, None]),
        "half": torch.from_numpy(images[:, None] / 255).bfloat16().double(),
        "list of (H, W)": list(images),
        "generator": (image for image in images),
    }
    for kind, given in kinds.items():
        close = 0.05 if kind == "half" else 0.0
        torch.testing.assert_close(probabilities(predictor, given), expected, atol=close, rtol=0, msg=kind)


def test_one_image_gives_one_label_and_several_a_list(predictor, images):
    one = predictor.predict(images[0])
    assert one in predictor.classes
    assert predictor.predict([images[0]]) == [one]
    assert predictor.predict(images[:1, None]) == [one]
    assert probabilities(predictor, images[0]).shape == (10,)
    assert predictor.predict([]) == []
    assert probabilities(predictor, []).shape == (0, 10)


def test_the_batch_size_changes_no_label(predictor, images):
    assert predictor.predict(list(images), batch_size=2) == predictor.predict(list(images))


def test_views_are_averaged(predictor, images):
    mirrored = images[:, :, ::-1]
    flipped, plain = (probabilities(predictor, list(images), views=views) for views in ("flip", "none"))
    assert not torch.equal(flipped, plain)
    torch.testing.assert_close(probabilities(predictor, list(mirrored), views="flip"), flipped)


def test_a_shape_that_could_be_both_is_read_as_its_library_does(predictor):
    assert predictor.pixels(np.zeros((3, 5, 3), np.uint8)).shape == (16, 16, 1)
    array = np.zeros((3, 4, 3), np.uint8)
    array[..., 0] = 255  # red for NumPy
    red = predictor.pixels(array)
    assert np.unique(red).tolist() == [76]
    assert len(np.unique(predictor.pixels(torch.from_numpy(array)))) > 1


def test_nested_lists_of_numbers_are_images(predictor, images):
    one = images[0].squeeze().tolist()
    assert predictor.predict(one) == predictor.predict(images[0])
    assert predictor.predict([one, one]) == [predictor.predict(images[0])] * 2
    assert predictor.predict([]) == []


def test_the_model_is_left_as_it_was_and_needs_no_gradient(predictor, images):
    assert not predictor.net.training
    assert not probabilities(predictor, list(images)).requires_grad
    assert torch.equal(probabilities(predictor, list(images)), probabilities(predictor, list(images)))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((7, 7, 5), np.uint8), r"image: given an array of shape \(7, 7, 5\); allowed: \(H, W\), "),
        (np.zeros((2, 2, 2, 7, 7), np.uint8), r"images\[0\]: given an array of shape \(2, 2, 7, 7\)"),
        (np.zeros((0, 7), np.uint8), r"given an array of shape \(0, 7\)"),
        (np.zeros((7, 7), np.complex64), "given an array of complex64; allowed: uint8, uint16, other integers up to"),
        (np.full((7, 7), 255.0), "given values from 255 to 255; allowed: 0 to 1, neither normalised nor up to 255"),
        (torch.full((1, 7, 7), torch.nan), "given pixels that are NaN or infinite"),
        (torch.full((1, 7, 7), -0.5), "given values from -0.5 to -0.5"),
        ([[1, 2], [3]], "image: given rows of different lengths"),
        ({}, "image: given dict; allowed: a path, bytes"),
        ({1, 2}, "image: given set; allowed: a path, bytes"),
        (b"no image", r"^image: cannot be read as an image \(of no known kind; JPEG, "),
        (BytesIO(b"no image"), "image: given BytesIO; allowed: a path, bytes"),
        (Image.new("L", (0, 5)), "image: given an image without pixels"),
        (np.zeros((5, 7, 7), np.uint8), r"shape \(5, 7, 7\).*; several as \(N, H, W, C\) or \(N, C, H, W\)"),
        (torch.zeros(5, 5).to_sparse(), "image: given a tensor of torch.sparse_coo, .* give its to_dense"),
        ("missing.png", "missing.png: cannot be read as an image"),
        ("/dev/null", "/dev/null: is a folder, a pipe or a device; allowed: a file"),
        (Image.fromarray(np.full((5, 5), -1, np.int32)), "image: given integers of 32 or signed 16 bits"),
        (7, "given int; allowed: a path, bytes"),
        ([None], r"images\[0\]: given NoneType"),
    ],
)
def test_what_is_no_image_is_told_in_one_line(predictor, given, words):
    with pytest.raises(DataError, match=words) as caught:
        predictor.predict(given)
    assert "\n" not in str(caught.value)


def test_a_truncated_picture_that_was_opened_already_is_told_too(predictor):
    stream = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(stream, "JPEG")
    with pytest.raises(DataError, match="image: cannot be read as an image"):
        predictor.predict(Image.open(BytesIO(stream.getvalue()[:900])))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"output": "logits"}, "output: given 'logits'; allowed: 'labels' or 'probabilities'"),
        ({"views": "many"}, "views: given 'many'; allowed: none, flip, flip_and_shift"),
        ({"batch_size": 0}, "batch_size: given 0; allowed: 1 or more"),
        ({"batch_size": True}, "batch_size: given True; allowed: 1 or more"),
    ],
)
def test_a_wrong_argument_is_told_with_those_allowed(predictor, images, settings, words):
    with pytest.raises(ConfigError, match=words):
        predictor.predict(list(images), **settings)


def test_a_run_that_cannot_be_loaded_says_why(finished, tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        kindling.load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"device: given tpu; allowed: auto, cpu, or an accelerator that is here"):
        kindling.load(finished.folder, device="tpu")
    file = finished.folder / "checkpoints" / "best.ckpt"
    saved = torch.load(file, weights_only=True)
    for described in (saved["description"]["config"]["data"], saved["description"]["facts"]):
        del described["mean"]
    torch.save(saved, file)
    with pytest.raises(CheckpointError, match=r"does not say data\.mean"):
        kindling.load(finished.folder)


def test_kindling_itself_has_nothing_else():
    with pytest.raises(AttributeError, match="no attribute 'save'"):
        _ = kindling.save
