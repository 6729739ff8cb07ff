import io

import numpy as np
import pytest
import torch
from PIL import Image

from softtf.errors import UserError
from softtf.streams import decode

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = COLOUR[:, :, 0]


def rgb(pixels):
    """uint8 [h, w] or [h, w, 3] as the tensor that decode should give."""
    pixels = pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=2)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def sixteen_bit():
    image = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert image.mode.startswith("I")
    return image


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (COLOUR, COLOUR),
        (COLOUR.transpose(2, 0, 1), COLOUR),
        (torch.from_numpy(COLOUR), COLOUR),
        (torch.from_numpy(COLOUR).permute(2, 0, 1), COLOUR),
        (GREY, GREY),
        (torch.from_numpy(GREY)[None], GREY),
        (GREY[:, :, None], GREY),
        (np.dstack([COLOUR, GREY]), COLOUR),
        (COLOUR.astype(np.int64), COLOUR),
        (COLOUR.astype(np.uint16) * 257, COLOUR),
        (COLOUR / 255, COLOUR),
        (torch.from_numpy(COLOUR) / 255, COLOUR),
        ((torch.from_numpy(GREY > 9)).to(torch.bfloat16), (GREY > 9) * np.uint8(255)),
        (GREY > 99, (GREY > 99) * np.uint8(255)),
        (Image.fromarray(COLOUR), COLOUR),
        (Image.fromarray(GREY), GREY),
        (Image.fromarray(np.dstack([COLOUR, GREY])), COLOUR),
        (Image.fromarray(GREY > 99), (GREY > 99) * np.uint8(255)),
        (Image.fromarray(GREY // 16 * 16).convert("P"), GREY // 16 * 16),
        (sixteen_bit(), GREY),
        (Image.fromarray((GREY / 255).astype(np.float32)), GREY),
        (encoded(Image.fromarray(COLOUR)), COLOUR),
        ({"bytes": encoded(sixteen_bit()), "path": None}, GREY),
        (encoded(Image.fromarray(GREY > 99)), (GREY > 99) * np.uint8(255)),
        (encoded(Image.fromarray(GREY // 16 * 16).convert("P"), transparency=0), GREY // 16 * 16),
    ],
)
def test_every_kind_of_image_becomes_the_same_rgb(raw, expected):
    image = decode(raw, "here")
    assert image.dtype == torch.uint8
    assert image.is_contiguous()
    assert torch.equal(image, rgb(expected))


def test_files_by_path_and_by_dict(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(COLOUR).save(path)
    for raw in (
        path,
        str(path),
        {"bytes": None, "path": str(path)},
        {"bytes": path.read_bytes(), "path": "x"},
    ):
        assert torch.equal(decode(raw, "here"), rgb(COLOUR))


def test_the_result_is_a_copy():
    raw = torch.zeros(3, 2, 2, dtype=torch.uint8)
    decode(raw, "here").fill_(9)
    assert raw.sum() == 0
    frozen = np.zeros((2, 2), np.uint8)
    frozen.flags.writeable = False
    decode(frozen, "here").fill_(9)


def test_exif_orientation_is_honoured(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    path = tmp_path / "turned.png"
    Image.fromarray(COLOUR).save(path, exif=exif)
    expected = rgb(np.rot90(COLOUR, -1).copy())
    assert torch.equal(decode(path, "here"), expected)
    assert torch.equal(decode(Image.open(path), "here"), expected)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_file_cut_off_anywhere_is_refused_by_name(tmp_path, kind):
    noise = Image.fromarray(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    whole = encoded(noise, kind)
    path = tmp_path / "broken"
    for share in (0.02, 0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UserError, match=r"^birds\[4\] \(.*broken\): not a readable image") as caught:
            decode(path, "birds[4]")
        assert "\n" not in str(caught.value)


def test_missing_empty_and_other_files_are_refused_by_name(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "words.png").write_text("not an image")
    for raw, message in [
        (tmp_path / "gone.png", "gone.png' does not exist"),
        (str(tmp_path / "gone.png"), "gone.png' does not exist"),
        (tmp_path, "cannot be read"),
        (tmp_path / "empty.png", "empty.png.*is empty"),
        (tmp_path / "words.png", "words.png.*not a readable image"),
        ({"bytes": b"", "path": "inner.png"}, "inner.png.*is empty"),
        ({"bytes": b"xx", "path": "inner.png"}, "inner.png.*not a readable image"),
    ]:
        with pytest.raises(UserError, match=r"^birds\[4\].*" + message):
            decode(raw, "birds[4]")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros((5, 5, 2), np.uint8), r"not \[5, 5, 2\]"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"not \[2, 3, 4, 4\]"),
        (torch.zeros(5), r"not \[5\]"),
        (np.zeros((0, 4), np.uint8), r"empty, of shape \[0, 4\]"),
        (np.full((2, 2), 1.5), "0..1, not between 1.5 and 1.5"),
        (np.full((2, 2), -0.1), "0..1"),
        (np.array([[0.5, np.nan]]), "0..1"),
        (torch.full((2, 2), 256), "0..255, not between 256 and 256"),
        (np.full((2, 2), -1), "0..255"),
        (np.full((2, 2), "a"), "not understood"),
        (Image.fromarray(np.full((2, 2), 70000, np.int32)), "0..65535"),
        (3, "not int"),
        (None, "not NoneType"),
        ({"bytes": None, "path": None}, "not NoneType"),
    ],
)
def test_wrong_arrays_are_refused_by_place(raw, message):
    with pytest.raises(UserError, match=r"^birds\[4\].*" + message):
        decode(raw, "birds[4]")
