import io
import struct
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from softtf.errors import UserError
from softtf.streams.decode import decode

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


def tiff(values, bits, order="<", white_is_zero=False, signed=False, real=False):
    """A TIFF of one strip, written by hand; `values` are whole bytes in rows, or of 12 bits packed by the caller."""
    rows, columns = values.shape[0], GREY.shape[1]
    data = values.tobytes()
    entries = [(256, columns), (257, rows), (258, bits), (259, 1), (262, 0 if white_is_zero else 1)]
    entries += [(273, 8), (277, 1), (278, rows), (279, len(data)), (339, 3 if real else 2 if signed else 1)]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    table = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in entries)
    return head + data + struct.pack(order + "H", len(entries)) + table + bytes(4)


def brightness(values, top):
    """The slow reference: each value's share of the largest, in 0..255, pixel by pixel."""
    return np.array([[int(float(v) / top * 255 + 0.5) for v in row] for row in values], np.uint8)


WIDE = RNG.integers(0, 65536, GREY.shape)
TWELVE = RNG.integers(0, 4096, (5, 8))[:, :7]


def packed(values):
    """Values of 12 bits, two in three bytes, each row filled up to whole bytes."""
    bits = ["".join(f"{v:012b}" for v in row).ljust(88, "0") for row in values.tolist()]
    return np.array([[int(row[i : i + 8], 2) for i in range(0, 88, 8)] for row in bits], np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_sixteen_bits_have_their_brightness_in_either_byte_order(order, white_is_zero):
    raw = tiff(WIDE.astype(order + "u2"), 16, order, white_is_zero)
    if white_is_zero and order == ">":
        with pytest.raises(UserError, match="not a readable image"):  # Pillow has no such mode
            decode(raw, "here")
        return
    assert torch.equal(decode(raw, "here"), rgb(brightness(65535 - WIDE if white_is_zero else WIDE, 65535)))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (tiff(packed(TWELVE), 12), brightness(TWELVE, 4095)),
        (tiff((WIDE // 2).astype("<i2"), 16, signed=True), brightness(WIDE // 2, 32767)),
        (tiff((WIDE // 2).astype(">i2"), 16, ">", signed=True), brightness(WIDE // 2, 32767)),
        (tiff(WIDE.astype(">i4"), 32, ">", signed=True), brightness(WIDE, 65535)),
        (tiff((WIDE / 65535).astype(">f4"), 32, ">", real=True), brightness(WIDE, 65535)),
        (tiff((WIDE / 65535).astype("<f4"), 32, white_is_zero=True, real=True), brightness(65535 - WIDE, 65535)),
        (WIDE.astype(">u2"), brightness(WIDE, 65535)),
        ((WIDE / 65535).astype(">f8"), brightness(WIDE, 65535)),
        (torch.from_numpy(WIDE.astype(np.uint16)), brightness(WIDE, 65535)),
        (encoded(Image.fromarray(WIDE.astype(np.uint16))), brightness(WIDE, 65535)),
        (encoded(Image.fromarray(WIDE.astype(np.uint16)), "TIFF"), brightness(WIDE, 65535)),
        (Image.fromarray(WIDE.astype(np.int32)), brightness(WIDE, 65535)),
        (Image.frombytes("I;16B", (7, 5), WIDE.astype(">u2").tobytes()), brightness(WIDE, 65535)),
        (Image.frombytes("I;16L", (7, 5), WIDE.astype("<u2").tobytes()), brightness(WIDE, 65535)),
        (b"P5 7 5 65535 " + WIDE.astype(">u2").tobytes(), brightness(WIDE, 65535)),
    ],
)
def test_more_than_eight_bits_have_their_brightness(raw, expected):
    found = decode(raw, "here").int()
    assert (found - rgb(expected).int()).abs().max() <= 1  # rounding of halves
    assert found.unique().numel() > 15


def test_turned_images_of_sixteen_bits_are_turned():
    for order in "<>":
        image = Image.open(io.BytesIO(tiff(WIDE.astype(order + "u2"), 16, order)))
        image.getexif()[0x0112] = 6
        assert torch.equal(decode(image, "here"), rgb(np.rot90(brightness(WIDE, 65535), -1).copy()))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 20000), "20000 x 1 pixels; one side may be at most 100 times the other"),
        ((1_000_000, 1), "1 x 1000000 pixels; one side may be at most 100 times the other"),
        ((7, 701), "701 x 7 pixels"),
        ((9500, 9500), "9500 x 9500 pixels; at most 89,478,485 are read"),
        ((14000, 14000), "too many pixels; at most 89,478,485"),
    ],
)
def test_too_large_images_are_refused_in_one_line_before_they_are_read(tmp_path, shape, words):
    path = tmp_path / "huge.png"
    whole = encoded(Image.new("1", (shape[1], shape[0])))
    path.write_bytes(whole[: max(200, len(whole) // 2)])  # cut off: only its head may be read
    for raw in (path, path.read_bytes()):
        tracemalloc.start()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserError, match=r"^birds\[4\].*" + words) as caught:
                decode(raw, "birds[4]")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()
        assert "\n" not in str(caught.value)
        assert ("huge.png" in str(caught.value)) == (raw is path)
    if min(shape) < 10:
        for array in (np.zeros(shape, np.uint8), torch.zeros(3, *shape)):
            with pytest.raises(UserError, match=words):
                decode(array, "here")
    assert decode(np.zeros((7, 700), np.uint8), "here").shape == (3, 7, 700)


def test_too_large_files_and_what_is_no_file_are_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    with open(path, "wb") as file:
        file.truncate(2**29 + 1)  # sparse
    with pytest.raises(UserError, match=r"large.png' cannot be read .it has 536,870,913 bytes; at most"):
        decode(path, "here")
    with pytest.raises(UserError, match="'/dev/zero' cannot be read"):
        decode("/dev/zero", "here")
    with pytest.raises(UserError, match="cannot be read"):
        decode("a\0b", "here")
    monkeypatch.setitem(decode.__globals__, "IMAGE", 10)
    with pytest.raises(UserError, match="at most 10 are read"):
        decode(encoded(Image.fromarray(GREY)), "here")


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
        (np.full((2, 2), 1.5), "0..1, not between 1.5 and 1.5; divide by 255"),
        ({"image": 1, "label": 2}, "must hold the bytes or the path of an image, not 'image', 'label'"),
        (np.full((2, 2), -0.1), "0..1"),
        (np.array([[0.5, np.nan]]), "0..1"),
        (torch.full((2, 2), 256), "0..255, not between 256 and 256"),
        (np.full((2, 2), -1), "0..255"),
        (np.full((2, 2), "a"), "not supported"),
        (Image.fromarray(np.full((2, 2), 70000, np.int32)), "0..65535"),
        (3, "not int"),
        (None, "not NoneType"),
        ({"bytes": None, "path": None}, "not NoneType"),
    ],
)
def test_wrong_arrays_are_refused_by_place(raw, message):
    with pytest.raises(UserError, match=r"^birds\[4\].*" + message):
        decode(raw, "birds[4]")


def test_tensors_without_plain_values_are_refused_and_a_matrix_is_read():
    grey = torch.from_numpy(GREY)
    for raw in (
        grey.to_sparse(),
        grey.to("meta"),
        torch.quantize_per_tensor(torch.rand(5, 7), 0.1, 0, torch.quint8),
        (grey / 255).to_sparse_csr(),
    ):
        with pytest.raises(UserError, match=r"^birds\[4\]: a tensor of type .* give a dense tensor"):
            decode(raw, "birds[4]")
    assert torch.equal(decode(np.asmatrix(GREY), "here"), rgb(GREY))


def test_eight_bits_in_mode_i_and_their_array_are_one_picture():
    image = Image.fromarray(GREY.astype(np.int32))
    assert image.mode == "I" and torch.equal(decode(image, "here"), rgb(GREY))
    assert torch.equal(decode(image.copy(), "here"), decode(np.asarray(image), "here"))
    dark = encoded(Image.fromarray(GREY.astype(np.uint16)))  # a file that says 16 bits has these
    assert torch.equal(decode(dark, "here"), rgb(brightness(GREY, 65535)))


def test_a_tiff_of_eight_signed_bits_is_read_as_what_it_says():
    half = (GREY // 2).astype(np.int8)
    assert torch.equal(decode(tiff(half, 8, signed=True), "here"), rgb(brightness(half, 127)))
    with pytest.raises(UserError, match="here: .* must lie in 0..127, not between -"):
        decode(tiff(half - np.int8(100), 8, signed=True), "here")
