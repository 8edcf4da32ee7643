"""Changed image files, by the thousand, are read or refused by their names."""

from collections import Counter
from io import BytesIO

import pytest

import changed_images
from kindling.errors import DataError
from kindling.images import decoding


def faults(found) -> list[str]:
    return [each.fault for results in found.values() for each in results if each.fault]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ten_thousand_changed_files_are_read_or_refused_by_name(tmp_path):
    found = changed_images.attempts(10_000, 1, tmp_path)
    assert faults(found) == []
    assert len(found) == 8, "JPEG, PNG, BMP, GIF, PPM, TIFF, WebP and AVIF"
    for results in found.values():
        ended = Counter(each.ended for each in results)
        assert min(ended["read"], ended["refused"]) > 100


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("planted", ["another error", "a name is missing", "a path is read otherwise"])
def test_a_fault_in_the_decoder_is_seen(tmp_path, monkeypatch, planted):
    if planted == "another error":
        monkeypatch.setattr(decoding, "Exception", LookupError, raising=False)
    elif planted == "a name is missing":
        monkeypatch.setattr(decoding.Decoding, "_too_large", lambda self, name: DataError("too large"))
    else:
        monkeypatch.setattr(decoding.Decoding, "opened", opened_otherwise)
    assert faults(changed_images.attempts(1_000, 1, tmp_path))


def opened_otherwise(decoding, image, name):
    return decoding.image(image if isinstance(image.fp, BytesIO) else image.rotate(180), name)
