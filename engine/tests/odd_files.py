"""A hundred odd image files of real life, by name: bit depths, palettes, alpha, EXIF, CMYK, animations, TIFF, sizes."""

import io
import struct
import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image

# What an array does not know of its file, by the file's name.
UNKNOWN_TO_ARRAYS = ("clear", "orientation", "white", "12 bits", "colours of 16 bits", "premultiplied")


def encoded(image: Image.Image, kind: str, **how) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


def png(rows: np.ndarray, *, bits: int, colour: int, clear: Sequence[int] = ()) -> bytes:
    """A PNG of packed rows (H, bytes) uint8, of kinds that Pillow does not write."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    width = rows.shape[1] * 8 // bits // samples
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0))]
    chunks += [(b"tRNS", struct.pack(f">{len(clear)}H", *clear))] if clear else []
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, *zip(*chunks, strict=True)))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(rows: np.ndarray, *, bits: int, photometric: int, samples: int = 1, extra: int | None = None, kind=1) -> bytes:
    """A TIFF of one strip of rows (H, ...), of kinds that Pillow does not write; `kind` of numbers: 2 for signed."""
    height, data = len(rows), rows.tobytes()
    width = len(data) * 8 // bits // samples // height
    entries = {256: width, 257: height, 259: 1, 262: photometric, 273: 0, 277: samples, 278: height, 279: len(data)}
    entries |= {258: [bits] * samples, 339: [kind] * samples} | ({} if extra is None else {338: extra})
    start = 8 + 2 + 12 * len(entries) + 4
    longer, table = b"", b""
    for tag, value in sorted(entries.items()):
        values = value if isinstance(value, list) else [value]
        packed = struct.pack(f"<{len(values)}H", *values) if isinstance(value, list) else struct.pack("<I", value)
        if tag == 273:
            packed = struct.pack("<I", start + 2 * samples * 2 * (samples > 2))
        elif len(packed) > 4:
            packed, longer = struct.pack("<I", start + len(longer)), longer + packed
        table += struct.pack("<HHI", tag, 3 if isinstance(value, list) else 4, len(values)) + packed.ljust(4, b"\0")
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + table + bytes(4) + longer + data


def photograph(mode: str = "RGB", size: tuple[int, int] = (90, 70)) -> Image.Image:
    """Smooth, with noise: what a JPEG decoded smaller would show otherwise."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, size[0])[None, :, None] + np.linspace(0, 40, size[1])[:, None, None]
    pixels = (ramp + rng.integers(0, 16, (size[1], size[0], 3))).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def with_alpha(mode: str) -> Image.Image:
    image = photograph("RGB")
    image.putalpha(Image.fromarray(np.tile(np.arange(90, dtype=np.uint8) * 2, (70, 1))))
    return image.convert(mode)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@cache
def odd_files() -> dict[str, bytes]:
    return of_each_mode() | of_cameras() | of_many_bits() | of_few_bits() | transparent() | of_odd_sizes() | netpbm()


def of_each_mode() -> dict[str, bytes]:
    kinds = {
        "1": ["PNG", "TIFF", "BMP", "GIF", "PPM"],
        "L": ["PNG", "TIFF", "BMP", "GIF", "PPM", "JPEG", "AVIF", "WEBP"],
        "P": ["PNG", "TIFF", "GIF", "BMP"],
        "RGB": ["PNG", "TIFF", "BMP", "PPM", "JPEG", "WEBP", "AVIF", "GIF"],
        "CMYK": ["TIFF", "JPEG"],
        "YCbCr": ["TIFF", "JPEG"],
        "LAB": ["TIFF"],
    }
    plain = {f"{mode} {kind}": encoded(photograph(mode), kind) for mode, each in kinds.items() for kind in each}
    packed = {
        f"TIFF of {how}": encoded(photograph(), "TIFF", compression=how) for how in ("tiff_lzw", "jpeg", "packbits")
    }
    fax = {"TIFF of a fax": encoded(photograph("1"), "TIFF", compression="group4")}
    return plain | packed | fax


def of_cameras() -> dict[str, bytes]:
    photo = photograph()
    files = {f"orientation {n}": encoded(photo, "JPEG", exif=turned(n)) for n in range(1, 9)}
    files |= {
        f"orientation {n} {kind}": encoded(photo, kind, exif=turned(n))
        for kind in ("TIFF", "PNG", "WEBP")
        for n in (3, 5, 6, 8)
    }
    large = photograph(size=(400, 300))
    return files | {
        "orientation out of range": encoded(photo, "JPEG", exif=turned(9)),
        "a large JPEG": encoded(large, "JPEG"),
        "a progressive JPEG": encoded(large, "JPEG", progressive=True),
        "a JPEG without subsampling": encoded(large, "JPEG", subsampling=0),
        "a PNG in passes": png_in_passes(),
    }


def png_in_passes() -> bytes:
    """Of one pixel, which needs one pass alone."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0\x80\x40\x20")) + chunk(b"IEND", b"")


def of_many_bits() -> dict[str, bytes]:
    grey = np.random.default_rng(1).integers(0, 65536, (40, 50), dtype=np.uint16)
    colours = np.random.default_rng(4).integers(0, 65536, (40, 50, 4), dtype=np.uint16)
    twelve = np.random.default_rng(3).integers(0, 256, (40, 75), dtype=np.uint8)
    values = np.random.default_rng(2).random((40, 50), dtype=np.float32)
    big, image = colours.byteswap().view(np.uint8).reshape(40, -1), Image.fromarray(grey)
    return {
        "16 bits PNG": encoded(image, "PNG"),
        "16 bits TIFF": encoded(image, "TIFF"),
        "16 bits TIFF of tiff_lzw": encoded(image, "TIFF", compression="tiff_lzw"),
        "16 bits, white is 0": tiff(grey, bits=16, photometric=0),
        "12 bits": tiff(twelve, bits=12, photometric=1),
        "floats": encoded(Image.fromarray(values), "TIFF"),
        "colours of 16 bits PNG": png(big[:, : 50 * 6], bits=16, colour=2),
        "colours of 16 bits and alpha PNG": png(big, bits=16, colour=6),
        "grey of 16 bits and alpha PNG, clear": png(big[:, : 50 * 4], bits=16, colour=4),
        "colours of 16 bits TIFF": tiff(colours[:, :, :3], bits=16, photometric=2, samples=3),
        "colours of 16 bits and alpha TIFF": tiff(colours, bits=16, photometric=2, samples=4, extra=2),
        "CMYK, colours of 16 bits TIFF": tiff(colours, bits=16, photometric=5, samples=4),
        "colours of 16 bits with a clear one": png(
            big[:, : 50 * 6], bits=16, colour=2, clear=colours[20, 20, :3].tolist()
        ),
    }


def of_few_bits() -> dict[str, bytes]:
    packed = np.random.default_rng(5).integers(0, 256, (40, 25), dtype=np.uint8)
    files = {f"{bits} bits PNG": png(packed, bits=bits, colour=0) for bits in (1, 2, 4)}
    files |= {f"{bits} bits PNG with a clear level": png(packed, bits=bits, colour=0, clear=[1]) for bits in (1, 2, 4)}
    files |= {f"{bits} bits TIFF": tiff(packed, bits=bits, photometric=1) for bits in (1, 2, 4)}
    files |= {f"{bits} bits TIFF, white is 0": tiff(packed, bits=bits, photometric=0) for bits in (1, 4, 8)}
    return files


def transparent() -> dict[str, bytes]:
    kinds = {"RGBA": ["PNG", "TIFF", "WEBP", "AVIF"], "LA": ["PNG", "TIFF"]}
    files = {f"{mode} {kind}": encoded(with_alpha(mode), kind) for mode, each in kinds.items() for kind in each}
    grey_16 = np.random.default_rng(1).integers(0, 65536, (40, 50), dtype=np.uint16)
    colours = np.asarray(with_alpha("RGBA"))
    return files | {
        "palette with a clear colour": encoded(photograph("P"), "PNG", transparency=3),
        "palette with half clear colours": encoded(photograph("P"), "PNG", transparency=bytes(range(0, 256, 2))),
        "GIF with a clear colour": encoded(photograph("P"), "GIF", transparency=3),
        "RGB with a clear colour": encoded(photograph(), "PNG", transparency=(0, 0, 0)),
        "L with a clear level": encoded(photograph("L"), "PNG", transparency=9),
        "16 bits with a clear level": encoded(Image.fromarray(grey_16), "PNG", transparency=int(grey_16[20, 20])),
        "TIFF, premultiplied": tiff(colours, bits=8, photometric=2, samples=4, extra=1),
        "TIFF with a band that is no alpha": tiff(colours, bits=8, photometric=2, samples=4, extra=0),
    }


def of_odd_sizes() -> dict[str, bytes]:
    frames = [photograph("P").rotate(90)]
    return {
        "one pixel": encoded(photograph(size=(1, 1)), "PNG"),
        "very wide": encoded(photograph(size=(900, 3)), "PNG"),
        "very high": encoded(photograph(size=(3, 900)), "JPEG"),
        "one row": encoded(photograph(size=(300, 1)), "BMP"),
        "one pixel more": encoded(photograph(size=(25, 24)), "PNG"),
        "an animation": encoded(photograph("P"), "GIF", save_all=True, append_images=frames),
        "an animated PNG": encoded(photograph(), "PNG", save_all=True, append_images=[photograph().rotate(90)]),
        "an animated WebP": encoded(photograph(), "WEBP", save_all=True, append_images=[photograph().rotate(90)]),
        "several pages": encoded(photograph(), "TIFF", save_all=True, append_images=[photograph("L")]),
    }


def netpbm() -> dict[str, bytes]:
    values = np.random.default_rng(2).random((40, 50, 3), dtype=np.float32)
    grey = values[:, :, 0]
    return {
        "PGM of 10 bits": b"P5 50 40 1023\n" + (grey * 1023).astype(">u2").tobytes(),
        "PGM up to 100": b"P5 50 40 100\n" + (grey * 100).astype(np.uint8).tobytes(),
        "PGM in words": b"P2 50 40 300\n" + " ".join(map(str, (grey * 300).astype(int).flatten())).encode(),
        "PPM of 16 bits": b"P6 50 40 65535\n" + (values * 65535).astype(">u2").tobytes(),
        "PPM of 10 bits": b"P6 50 40 1023\n" + (values * 1023).astype(">u2").tobytes(),
        "PBM in words": b"P1 50 40\n" + " ".join(map(str, (grey > 0.5).astype(int).flatten())).encode(),
        "PFM": b"Pf 50 40 -1.0\n" + grey.tobytes(),
    }
