"""One image, one set of pixels: whatever kind of file it is, and whichever way it comes in."""

import base64
import contextlib
import io
import json
import logging
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kindling.errors import DataError
from kindling.images import decoding, jpeg
from kindling.images.decoder import Decoder
from kindling.images.decoding import Decoding
from kindling.images.processor import ImageProcessor, processor_of
from long_run import some
from odd_files import UNKNOWN_TO_ARRAYS, encoded, odd_files, photograph, png, tiff, turned

GREY_16 = np.array([[0, 4095], [65535, 1000]], dtype=np.uint16)
SIZE = 24


@pytest.fixture(scope="module")
def alone() -> dict:
    """The names of decoding.py where there is no Kindling, as beside an exported model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        return runpy.run_path(decoding.__file__)


@pytest.mark.needs("serving")
@pytest.mark.parametrize("channels", some([1, 3], 3))
def test_each_way_in_gives_the_same_pixels(tmp_path, alone, channels):
    from kindling.inference.serving.pixels import pixels_of

    processor = ImageProcessor(["a"], SIZE, channels, [0.5], [0.5])
    described = processor.as_dict()
    for name, content in odd_files().items():
        file = tmp_path / name
        file.write_bytes(content)
        expected = Decoder(Decoding(SIZE, channels), [file], clip=True)(file).numpy()
        with Image.open(file) as image:
            ways = {
                "a path": processor.pixels(str(file)),
                "bytes": processor.pixels(content),
                "an image of Pillow": processor.pixels(image),
                "serve": pixels_of(content, processor.decoding.opened, 10**7, "image"),
                "beside an exported model": alone["Decoding"].of(described).file(str(file)),
            }
            # An array knows neither palette, clear colour nor orientation.
            if image.mode in ("1", "L", "LA", "RGB", "RGBA", "I;16", "F") and not any(
                each in name for each in UNKNOWN_TO_ARRAYS
            ):
                ways["an array"] = processor.pixels(np.asarray(image))
        for way, pixels in ways.items():
            np.testing.assert_array_equal(pixels, ways["a path"], f"{name}: {way}")
        # Torch rounds otherwise than Pillow, which model folders use.
        assert np.abs(ways["a path"].astype(int) - expected).max() <= 1, name
        in_training = processor_of(described, {"classes": ["a"]})
        for way in (str(file), content):
            np.testing.assert_array_equal(in_training.pixels(way), expected, name)


@pytest.mark.parametrize(
    ("content", "white", "levels"),
    [
        (encoded(Image.fromarray(GREY_16), "PNG"), None, [0, 16, 255, 4]),
        (encoded(Image.fromarray(GREY_16.clip(0, 4095)), "PNG"), None, [0, 16, 16, 4]),
        (encoded(Image.fromarray(GREY_16.clip(0, 4095)), "PNG"), 4095, [0, 255, 255, 62]),
        (b"P5 2 2 4095\n" + GREY_16.clip(0, 4095).astype(">u2").tobytes(), None, [0, 255, 255, 62]),
        (b"P5 2 2 4095\n" + GREY_16.clip(0, 4095).astype(">u2").tobytes(), 1000, [0, 255, 255, 62]),
        (tiff(GREY_16, bits=16, photometric=0), None, [255, 239, 0, 251]),
        (tiff(np.uint8([[0x00, 0x0F, 0xFF], [0x80, 0x00, 0x00]]), bits=12, photometric=1), None, [0, 255, 128, 0]),
        (encoded(Image.fromarray(np.float32([[0, 1.0], [0.5, 0.1]])), "TIFF"), None, [0, 255, 128, 26]),
        (encoded(Image.fromarray(np.float32([[0, 1.0], [0.5, 0.1]])), "TIFF"), 2, [0, 128, 64, 13]),
        (encoded(Image.fromarray(np.int32([[0, 255], [256, 3]])), "TIFF"), 1000, [0, 65, 65, 1]),
    ],
)
def test_grey_of_more_than_8_bits_is_scaled_by_its_type_or_by_white(content, white, levels):
    assert Decoding(2, 1, white=white).file(io.BytesIO(content), "image").flatten().tolist() == levels


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_colours_of_16_bits_are_read_by_their_upper_8_and_told(kind, tmp_path, caplog):
    file, levels = tmp_path / "deep", np.array([[[0, 4095, 65535], [1000, 128, 257]]] * 2, np.uint16)
    packed = levels.byteswap().view(np.uint8).reshape(2, -1)
    file.write_bytes(
        png(packed, bits=16, colour=2) if kind == "PNG" else tiff(levels, bits=16, photometric=2, samples=3)
    )
    decoder = Decoder(Decoding(2, 3), [file], clip=True)
    assert decoder(file)[0].tolist() == [[0, 15, 255], [3, 0, 1]]
    decoder.say()
    assert "1 of 1 images hold colours of 16 bits, of which the upper 8 are taken" in caplog.text
    assert Decoding(2, 3, white=65_535).file(file).shape == (2, 2, 3)
    with pytest.raises(DataError, match=r"deep: given colours of 16 bits.* data\.white=4095; allowed .* none"):
        Decoding(2, 3, white=4095).file(file)


@pytest.mark.parametrize(
    ("bits", "colour", "row", "clear"),
    [
        (1, 0, [0b00001111], [1]),
        (2, 0, [0b00001111], [3]),
        (4, 0, [0x0F], [15]),
        (8, 0, [0, 255], [255]),
        (16, 2, [0] * 6 + [255] * 6, [65535] * 3),
        (16, 0, [0, 0, 255, 255], [65535]),
    ],
)
def test_a_clear_level_is_found_whatever_its_bits(bits, colour, row, clear):
    width = len(row) * 8 // bits // (3 if colour == 2 else 1)
    content = png(np.array([row] * width, np.uint8), bits=bits, colour=colour, clear=clear)
    pixels = Decoding(width, 3, background=(255, 0, 0)).file(io.BytesIO(content), "image")
    assert pixels[0, [0, -1]].tolist() == [[0, 0, 0], [255, 0, 0]]


def test_version_2_gives_the_pixels_that_its_commit_gave():
    # Files, and their pixels as the code of 4fc0851 decodes them.
    made = json.loads(Path(__file__).with_name("old_runs").joinpath("decoding_2.json").read_text())
    assert len(made) == 4
    for name, each in made.items():
        content, settings = base64.b64decode(each["file"]), {"white": each["white"], "background": (250, 10, 20)}
        found = Decoding(4, 3, version=2, **settings).file(io.BytesIO(content), name)
        assert found.reshape(-1).tolist() == each["pixels"], name
        with contextlib.suppress(DataError):
            today = Decoding(4, 3, **settings).file(io.BytesIO(content), name)
            assert not np.array_equal(today, found), name


def test_signed_numbers_of_8_bits_are_refused():
    content = tiff(np.int8([[-1, 1]] * 2), bits=8, photometric=1, kind=2)
    with pytest.raises(DataError, match="image: given signed integers of 8 bits; allowed: unsigned ones"):
        Decoding(2, 1).file(io.BytesIO(content), "image")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "HSV", "LAB", "RGBX", "I;16B", "CMYK", "YCbCr", "1"])
def test_an_image_of_any_mode_of_pillow_is_read(mode, channels):
    assert Decoding(3, channels).image(Image.new(mode, (3, 3)), "image").shape == (3, 3, channels)


@pytest.mark.parametrize("most", [255, 256, 40_000, 70_000])
def test_integers_of_32_bits_ask_for_white_whatever_they_hold(tmp_path, most):
    Image.fromarray(np.int32([[0, most]] * 2)).save(tmp_path / "image.tif")
    with pytest.raises(DataError, match=r"image\.tif: .* type does not say what is white; say it with data\.white"):
        Decoding(2, 1).file(tmp_path / "image.tif")


@pytest.mark.parametrize(
    "array",
    [
        np.float32([[0, 1.02]] * 2),
        np.float32([[-0.1, 1]] * 2),
        np.float32([[0, 255]] * 2),
        np.int64([[0, 256]] * 2),
        np.int16([[-1, 2]] * 2),
        [[0, 300]] * 2,
    ],
)
def test_values_outside_of_black_and_white_are_refused_and_never_scaled(array):
    with pytest.raises(
        DataError, match=r"image: given values from .*; allowed: 0 to (1, neither normalised nor up to |)255; say what"
    ):
        Decoding(2, 1).array(array, "image")


@pytest.mark.parametrize(
    "array", [[[0, 255], [7, 1]], np.int64([[0, 255], [7, 1]]), np.array([[0, 255], [7, 1]], np.uint8)]
)
def test_whole_numbers_up_to_255_are_levels(array):
    assert Decoding(2, 1).array(array, "image").flatten().tolist() == [0, 255, 7, 1]


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="image: given rows of different lengths"):
        Decoding(2, 1).array([[1, 2], [3]], "image")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(("background", "level"), [((255, 255, 255), 255), ((0, 0, 0), 0), ((90, 90, 90), 90)])
def test_black_ink_on_a_transparent_ground_is_read(kind, background, level):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((1, 1), (0, 0, 0, 255))
    how = {"lossless": True} if kind == "WEBP" else {}
    pixels = Decoding(4, 1, background=background).file(io.BytesIO(encoded(image, kind, **how)), "image")
    assert (pixels[1, 1, 0], pixels[0, 0, 0]) == (0, level)


def test_a_half_transparent_colour_is_mixed_with_the_background():
    image = Image.new("RGBA", (2, 2), (200, 0, 0, 128))
    pixels = Decoding(2, 3, background=(0, 100, 0)).array(np.asarray(image), "image")
    np.testing.assert_allclose(pixels[0, 0], [100, 50, 0], atol=1)


def test_a_damaged_exif_block_is_no_error_of_another_kind(tmp_path):
    exif = turned(1)
    exif[0x9202] = (-1, 1)
    exif[0x010F] = "a camera"
    content = encoded(photograph(), "JPEG", exif=exif)
    start, rng = content.index(b"Exif"), np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(content)
        for place in rng.integers(start + 6, start + 90, 3):
            changed[place] = rng.integers(256)
        with contextlib.suppress(DataError):
            assert Decoding(8, 3).file(io.BytesIO(bytes(changed)), "image.jpg").shape == (8, 8, 3)


@pytest.mark.parametrize("size", [(20_000, 10_000), (60_000, 60_000)])
def test_an_image_of_too_many_pixels_names_the_file_and_the_setting(tmp_path, size):
    (tmp_path / "huge.pgm").write_bytes(b"P5 %d %d 255\n" % size)
    with pytest.raises(DataError, match=r"huge\.pgm: given .* pixels; allowed: 178956970; .* data\.max_pixels"):
        Decoding(8, 1).file(tmp_path / "huge.pgm")


def test_files_that_were_clipped_are_counted_once_and_named(tmp_path, caplog):
    paths = [tmp_path / f"{i}.tif" for i in range(6)]
    for i, path in enumerate(paths):
        Image.fromarray(np.float32([[0, 1.02 if i % 2 else 1]] * 2)).save(path)
    decoder = Decoder(Decoding(2, 1), paths, clip=True)
    assert [int(decoder(path).max()) for path in [*paths, *paths]] == [255] * 12
    with caplog.at_level(logging.WARNING):
        decoder.say()
    assert "3 of 6 images hold values outside of what is black and white, which were clipped" in caplog.text
    assert all(str(paths[i]) in caplog.text for i in (1, 3, 5))


def test_worker_processes_say_together_what_they_met(tmp_path):
    paths = [tmp_path / f"{i}.tif" for i in range(8)]
    for path in paths:
        Image.fromarray(np.float32([[0, 2]] * 2)).save(path)
    decoder = Decoder(Decoding(2, 1), paths, clip=True)
    list(torch.utils.data.DataLoader(paths, num_workers=2, collate_fn=lambda batch: [decoder(path) for path in batch]))
    assert decoder.noted.tolist() == [1] * 8


def test_in_memory_a_file_with_other_values_is_refused_by_name(tmp_path):
    Image.fromarray(np.float32([[0, 2]] * 2)).save(tmp_path / "image.tif")
    with pytest.raises(DataError, match=r"image\.tif: given values from 0 to 2; allowed: 0 to 1"):
        Decoder(Decoding(2, 1), [tmp_path / "image.tif"], clip=False)(tmp_path / "image.tif")


def test_files_with_several_frames_are_told(tmp_path, caplog):
    (tmp_path / "moving.gif").write_bytes(odd_files()["an animation"])
    decoder = Decoder(Decoding(8, 3), [tmp_path / "moving.gif"], clip=False)
    decoder(tmp_path / "moving.gif")
    decoder.say()
    assert "1 of 1 images have several frames or pages, of which the first is taken" in caplog.text


def test_images_of_other_sizes_are_fitted_with_the_centre_kept(tmp_path):
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    pixels[:, 20:40] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    found = Decoding(10, 3).file(tmp_path / "wide.png")
    assert found.shape == (10, 10, 3)
    assert found[:, 1:-1].min() == 200


def test_the_camera_s_orientation_is_honoured(tmp_path):
    image = Image.fromarray(np.repeat(np.array([[0, 255]], dtype=np.uint8), 2, axis=0))
    exif = Image.Exif()
    exif[0x0112] = 3  # turned upside down
    image.save(tmp_path / "turned.png", exif=exif)
    assert Decoding(2, 1).file(tmp_path / "turned.png")[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[0, 65535]] * 2, dtype=np.uint16), 255),
        (np.array([[0, 32768]] * 2, dtype=np.uint16), 127),
        (np.array([[0.0, 0.5]] * 2, dtype=np.float32), 128),
        (np.array([[0.0, 200.0]] * 2, dtype=np.float32), 200),
    ],
)
def test_runs_of_before_keep_grey_scaled_by_what_a_file_holds(tmp_path, array, expected):
    Image.fromarray(array).save(tmp_path / "image.tif")
    assert Decoding(2, 1, version=1).file(tmp_path / "image.tif")[0, 1, 0] == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pixels_that_are_not_finite_name_the_file(tmp_path, value):
    Image.fromarray(np.array([[0.0, value]] * 2, dtype=np.float32)).save(tmp_path / "bad.tif")
    with pytest.raises(DataError, match=r"bad\.tif: given pixels that are NaN or infinite"):
        Decoding(2, 1).file(tmp_path / "bad.tif")


@pytest.mark.parametrize("content", [b"", b"not an image", "truncated", "missing"])
def test_a_file_that_is_no_whole_image_is_named(make_tree, content):
    file = make_tree() / "b" / "003.png"
    if content == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:100] if content == "truncated" else content)
    with pytest.raises(DataError, match=r"b/003\.png: cannot be read as an image.*replace or remove the file"):
        Decoding(12, 3).file(file)


def test_a_quicker_decoder_gives_the_bits_of_pillow(tmp_path):
    """Of a package that is not needed, so the test may be left out; whatever it does not read is Pillow's."""
    pytest.importorskip("simplejpeg")
    files = {f"{name}.jpg": content for name, content in odd_files().items() if content.startswith(b"\xff\xd8")}
    quick = 0
    for name, content in files.items():
        file = tmp_path / name
        file.write_bytes(content)
        for channels in (1, 3):
            found = jpeg.decoded(file, channels, 10**7)
            quick += found is not None
            if found is not None:
                assert np.array_equal(found, Decoding(8, channels).whole_file(file, name)), name
            damaged = tmp_path / "damaged.jpg"
            damaged.write_bytes(content[: len(content) * 2 // 3])
            assert jpeg.decoded(damaged, channels, 10**7) is None
            assert jpeg.decoded(file, channels, 10) is None
    assert quick >= 14
