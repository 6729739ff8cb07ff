"""Small files and odd shapes that ask for much memory: each is read within bounds, or refused in one line."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from softtf.errors import UserError
from softtf.streams.decode import decode
from softtf.streams.images import ImagePreparation
from softtf.streams.walk import image_endings
from support.limits import linux, with_little_memory
from support.slow import each

PREPARATION = ImagePreparation(224)
GIB = 2**30


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
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


BOMB = zlib.compress(bytes(2**30), 9)
FILES: dict[str, Callable[[], bytes]] = {
    "long": lambda: encoded(Image.new("1", (1_000_000, 1))),
    "tall": lambda: encoded(Image.new("1", (1, 1_000_000))),
    "largest": lambda: encoded(Image.new("1", (9459, 9459))),
    "largest-16-bits": lambda: encoded(Image.new("I;16", (9459, 9459))),
    "largest-alpha": lambda: encoded(Image.new("RGBA", (9459, 9459))),
    "longest": lambda: encoded(Image.new("1", (94_500, 945))),
    "beyond": lambda: encoded(Image.new("1", (30_000, 30_000))),
    "text": lambda: png_with(b"zTXt", b"key\0\0" + BOMB),
    "many-texts": lambda: png_with(b"zTXt", b"key\0\0" + zlib.compress(bytes(2**19))) * 1000,
    "profile": lambda: png_with(b"iCCP", b"key\0\0" + BOMB),
    "exif": lambda: encoded(Image.new("RGB", (8, 8)), exif=b"Exif\0\0" + bytes(2**25)),
    "animation": lambda: encoded(
        Image.new("L", (3000, 3000)), "GIF", save_all=True, append_images=[Image.new("L", (3000, 3000), 9)] * 40
    ),
    "icon": lambda: ico_of(encoded(Image.new("1", (12_000, 12_000)))),
    "long-icon": lambda: ico_of(encoded(Image.new("1", (1_000_000, 100)))),
}


@linux
@each("name", list(FILES), ("long", "beyond", "text", "profile"))
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


@linux
def test_what_does_not_fit_into_memory_is_named() -> None:
    raw = encoded(Image.new("RGB", (9000, 9000)))
    code, line = with_little_memory(GIB // 8, lambda: PREPARATION.load_test(raw, "birds[4]"))
    assert code == 2
    assert line.startswith("birds[4]: there is not enough memory to read the image of 9000 x 9000 pixels")


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


def test_eps_is_not_read_as_reading_it_runs_a_program() -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n"
    assert Image.open(io.BytesIO(eps)).format == "EPS"
    with pytest.raises(UserError, match=r"birds\[4\]: not a readable image, or truncated \(unknown format\)"):
        decode(eps, "birds[4]")
    assert not {".eps", ".ps"} & image_endings()
