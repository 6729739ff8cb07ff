"""Small files and odd shapes that ask for much memory: each is read within bounds, or refused in one line."""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from softtf.errors import UserError
from softtf.streams.decode import decode
from softtf.streams.images import ImagePreparation
from softtf.streams.walk import FORMATS, image_endings, image_formats
from support.limits import linux, with_little_memory
from support.slow import each

PREPARATION = ImagePreparation(224)
GIB = 2**30


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"compress_level": 1} if kind == "PNG" else {}), **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_with(name: bytes, content: bytes) -> bytes:
    """A picture of 8 x 8 pixels with a chunk before its pixels."""
    plain = encoded(Image.new("RGB", (8, 8)))
    return plain[:33] + chunk(name, content) + plain[33:]


def ico_of(inner: bytes) -> bytes:
    """An icon that says it has 16 x 16 pixels."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner


def field(record: int, number: int, content: bytes) -> bytes:
    """A field of an IPTC file."""
    length = struct.pack(">H", len(content)) if len(content) < 2**15 else b"\x84\0" + struct.pack(">I", len(content))
    return bytes([0x1C, record, number]) + length + content


def iptc_of(inner: bytes) -> bytes:
    """An IPTC file that says it has 64 x 64 pixels, and that any file of Pillow's formats is inside."""
    side = struct.pack(">I", 64)
    head = field(3, 60, b"\1\0") + field(3, 20, side) + field(3, 30, side) + field(3, 120, b"\5")
    return head + field(8, 10, inner) + bytes(5)


def tiled_tiff(side: int) -> bytes:
    """A TIFF of 8 x 8 pixels in one tile of `side` x `side`."""
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(side)) for _ in range(side)) + packer.flush()
    entries = [(256, 8), (257, 8), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side)]
    entries += [(324, 8), (325, len(data))]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(entries)) + table + bytes(4)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


@cache
def bomb() -> bytes:
    """A gigabyte of nothing, compressed."""
    return zlib.compress(bytes(GIB), 1)


FILES: dict[str, Callable[[], bytes]] = {
    "long": lambda: encoded(Image.new("1", (1_000_000, 1))),
    "tall": lambda: encoded(Image.new("1", (1, 1_000_000))),
    "largest": lambda: encoded(Image.new("1", (9459, 9459))),
    "largest-16-bits": lambda: encoded(Image.new("I;16", (9459, 9459))),
    "largest-alpha": lambda: encoded(Image.new("RGBA", (9459, 9459))),
    "longest": lambda: encoded(Image.new("1", (94_500, 945))),
    "beyond": lambda: encoded(Image.new("1", (30_000, 30_000))),
    "text": lambda: png_with(b"zTXt", b"key\0\0" + bomb()),
    "many-texts": lambda: png_with(b"zTXt", b"key\0\0" + zlib.compress(bytes(2**19))) * 1000,
    "profile": lambda: png_with(b"iCCP", b"key\0\0" + bomb()),
    "exif": lambda: encoded(Image.new("RGB", (8, 8)), exif=b"Exif\0\0" + bytes(2**25)),
    "animation": lambda: encoded(
        Image.new("L", (3000, 3000)), "GIF", save_all=True, append_images=[Image.new("L", (3000, 3000), 9)] * 40
    ),
    "icon": lambda: ico_of(encoded(Image.new("1", (12_000, 12_000)))),
    "long-icon": lambda: ico_of(encoded(Image.new("1", (1_000_000, 100)))),
    "inside": lambda: iptc_of(encoded(Image.new("1", (13_370, 13_370)))),
}


@linux
@each("name", list(FILES), ("long", "beyond"))
def test_a_small_file_takes_little_memory(name: str) -> None:
    raw = FILES[name]()
    assert len(raw) < 40_000_000
    drawn = PREPARATION.draw(1, torch.Generator().manual_seed(0))[0]
    for load in (
        lambda: PREPARATION.load_test(raw, "birds[4]"),
        lambda: PREPARATION.load_drawn(raw, "birds[4]", drawn, 2**20),
    ):
        code, line = with_little_memory(3 * GIB // 2, load)
        assert code == 0 or (code == 2 and line.startswith("birds[4]: ") and "\n" not in line), line
        assert "not enough memory" not in line


@pytest.mark.slow
@linux
def test_what_does_not_fit_into_memory_is_named() -> None:
    raw = encoded(Image.new("RGB", (9000, 9000)))
    code, line = with_little_memory(GIB // 8, lambda: PREPARATION.load_test(raw, "birds[4]"))
    assert code == 2
    assert line.startswith("birds[4]: there is not enough memory to read the image of 9000 x 9000 pixels")


@pytest.mark.slow
@linux
def test_arrays_and_tensors_of_extreme_shapes_are_refused_before_they_are_copied() -> None:
    one = torch.zeros(1, dtype=torch.float16)
    wide = np.zeros(1)
    for raw in (
        one.expand(3, 2**17, 2**17),
        one.expand(1, 2**32),
        one.expand(2**32, 1, 3),
        np.broadcast_to(wide, (2**17, 2**17, 3)),
        np.broadcast_to(wide, (2**32, 1)),
        np.broadcast_to(wide, (3, 2**32, 1)),
    ):
        code, line = with_little_memory(GIB // 4, lambda raw=raw: decode(raw, "birds[4]"))  # type: ignore
        assert code == 2 and line.startswith("birds[4]: the image has ")
    for raw in (one.expand(4, 4, 4, 4), one.expand(2**40)):
        with pytest.raises(UserError, match="has shape"):
            decode(raw, "birds[4]")


@linux
@pytest.mark.slow
def test_a_batch_of_extreme_shapes_takes_little_memory_and_is_as_its_parts() -> None:
    generator = np.random.default_rng(0)
    shapes = [(11, 1020), (1020, 11), (200, 1000), (300, 300)]
    images = [torch.from_numpy(generator.integers(0, 256, (3, *shape), dtype=np.uint8)) for shape in shapes]
    plain = ImagePreparation(224, augment=False)
    alone = torch.cat([plain.augment_batch([image], "cpu", torch.Generator()) for image in images])

    def together() -> None:
        found = plain.augment_batch(images * 100, "cpu", torch.Generator())  # 6 GB on one canvas
        for i in range(len(images)):
            assert torch.allclose(found[i :: len(images)], alone[i], atol=1e-5)

    assert with_little_memory(3 * GIB // 2, together) == (0, "")


# Each can hold a file of another format, unpacks without a bound, or is read by a program.
NOT_READ = ("EPS", "FITS", "ICNS", "ICO", "IPTC", "MPEG", "PDF", "SPIDER", "WMF")


def test_only_formats_that_hold_no_other_file_are_read() -> None:
    """A format that a new version of Pillow adds, or another package registers, is not read either."""
    assert not set(NOT_READ) & set(image_formats()) and set(image_formats()) <= set(FORMATS)
    assert not {".eps", ".ps", ".fits", ".ico", ".iim"} & image_endings()


@linux
@pytest.mark.parametrize("raw", [EPS, iptc_of(EPS)], ids=["itself", "inside IPTC"])
def test_no_program_runs_to_read_a_picture(raw: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, ran = tmp_path / "gs", tmp_path / "ran"
    program.write_text(f"#!/bin/sh\necho ran >> {ran}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    for name in ("cat.png", "cat.iim", "cat.eps"):
        (tmp_path / name).write_bytes(raw)
        for given in (raw, tmp_path / name):
            with pytest.raises(UserError, match=r"birds\[4\].*: not a readable image, or truncated \(unknown format\)"):
                decode(given, "birds[4]")
    assert not ran.exists()


def test_tiles_are_as_large_as_images_at_most() -> None:
    assert decode(tiled_tiff(16), "birds[4]").shape == (3, 8, 8)
    with pytest.raises(UserError, match=r"birds\[4\]: the image has tiles of 10000 x 10000 pixels"):
        decode(tiled_tiff(10_000), "birds[4]")


def test_pillow_warns_nobody_of_a_broken_picture() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    raw = encoded(Image.new("RGB", (8, 8)), "TIFF", exif=exif)
    entry = raw.index(struct.pack("<HH", 0x010E, 2))
    broken = raw[: entry + 4] + struct.pack("<I", 2**24) + raw[entry + 8 :]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with suppress(UserError):  # of Pillow 11
            decode(broken, "birds[4]")
    assert not caught
