"""Decoding of raw images to RGB; their sizes are checked before they take memory."""

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from softtf.devices.memory import is_shortage
from softtf.errors import UserError, one_line, reason_of
from softtf.files.reading import IMAGE, LARGEST_IMAGE, read_bytes
from softtf.streams.walk import image_formats, no_pattern

CHANNELS = (1, 3, 4)
LONGEST = 100  # the most that the long side may be, times the short: resizing by the short side would fill the memory
STRIP = 2**22  # values to scale at once
ORIENTATION = 0x0112  # of EXIF
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
TILE_SIDES = (322, 323)
WHITE_IS_ZERO, SIGNED = 0, 2
View = Callable[[Image.Image], Image.Image]


class LargeImageError(UserError):
    """An image has more pixels than are read."""


def decode(raw: Any, where: str, view: View | None = None) -> Tensor:
    """Return a raw image as RGB.

    Args:
        raw: a path, the bytes of a file, a `{"bytes", "path"}` dict, a PIL image, or a numpy array or torch tensor.
            An array has shape [h, w], [h, w, c] or [c, h, w] with 1, 3 or 4 channels; alpha is dropped. If both
            layouts fit, arrays are read as [h, w, c] and tensors as [c, h, w]. Values are integers in 0..255, uint16
            in 0..65535, booleans, or floats in [0, 1]; the same holds for PIL's modes. PIL's mode I has values in
            0..65535; but in an image that was not opened from a file and has no value above 255, in 0..255. A TIFF may
            have fewer bits, signed values, or white as zero. The EXIF orientation is applied.
        where: what errors call the image if it has no file name.
        view: is called with the opened image of a file or of bytes before its pixels are read, and returns the part to
            read.

    Returns:
        uint8 [3, h, w].

    Raises:
        UserError: the file is missing, empty, truncated or not an image; its values or shape are not as above; it has
            more than IMAGE bytes or LARGEST_IMAGE pixels, or the ratio of its sides is above LONGEST.
    """
    if isinstance(raw, dict):
        if not {"bytes", "path"} & raw.keys():
            found = ", ".join(map(repr, raw))[:80]
            raise UserError(
                f"{where}: a dict must hold the bytes or the path of an image, not {found}; give the image itself"
            )
        path = raw.get("path")
        where = f"{where} ({path})" if path else where
        raw = raw["bytes"] if raw.get("bytes") is not None else path
    if isinstance(raw, str | os.PathLike):
        where, raw = f"{where} ({raw})", _read(Path(os.fsdecode(raw)), where)
    if isinstance(raw, bytes | bytearray | memoryview):
        pixels = _from_bytes(raw, where, view)
    elif isinstance(raw, Image.Image):
        pixels = _from_pil(raw, where)
    elif isinstance(raw, np.ndarray | Tensor):
        pixels = _from_array(raw, where)
    else:
        raise UserError(f"{where}: expected an image, an array or a path, not {type(raw).__name__}")
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))  # a copy, so that the input does not change


def _read(path: Path, where: str) -> bytes:
    try:
        return read_bytes(path, IMAGE)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        problem = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({reason_of(error)})"
        raise UserError(f"{where}: the image file {str(path)!r} {problem}{no_pattern(str(path))}") from error


def _from_bytes(raw: bytes | bytearray | memoryview, where: str, view: View | None) -> np.ndarray[Any, Any]:
    size = memoryview(raw).nbytes
    if not size:
        raise UserError(f"{where}: the image file is empty (0 bytes)")
    if size > IMAGE:
        raise UserError(f"{where}: the image has {size:,} bytes; at most {IMAGE:,} are read")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # a broken file is refused, and our own bound stands below
        return _from_pil(_opened(raw, where), where, view)


def _opened(raw: bytes | bytearray | memoryview, where: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(raw), formats=image_formats())
    except Image.DecompressionBombError as error:
        raise LargeImageError(
            f"{where}: the image has too many pixels; at most {LARGEST_IMAGE:,} are read, so make it smaller ({error})"
        ) from None
    except MemoryError:
        raise _too_little_memory(where) from None
    except Exception as error:  # for broken files PIL raises many kinds, from SyntaxError to struct.error
        raise _unreadable(where, error) from error


def _from_pil(image: Image.Image, where: str, view: View | None = None) -> np.ndarray[Any, Any]:
    check_size(image.height, image.width, where)
    tags: Any = getattr(image, "tag_v2", {})
    _check_tiles(tags, where)
    made, signed = image.format is None, tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED
    try:
        if view:
            image = view(image)
        image.load()  # some formats have their orientation only then
        if image.getexif().get(ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        wide = image.mode.startswith("I") or image.mode == "F"  # more than 8 bits: PIL would clip at 255
        signed_bytes = signed and image.mode == "L"  # PIL reads them without a sign
        plain = wide or signed_bytes or image.mode == "RGB"
        values = np.asarray(image if plain else image.convert("RGB"))
    except MemoryError:
        raise _too_little_memory(where, image) from None
    except Exception as error:
        raise _unreadable(where, error) from error
    if signed_bytes:
        return _from_array(values.view(np.int8).astype(np.int32), where, 127)
    if not wide:
        return _from_array(values, where)
    bits = tags.get(BITS_PER_SAMPLE, (8 if made and image.mode == "I" and values.max(initial=0) <= 255 else 16,))[0]
    top = 65535 if bits > 16 else 2 ** (bits - signed) - 1
    if values.dtype.kind == "f":
        top = 1
    else:
        values = values.astype(np.int32)  # otherwise 16-bit values would be scaled by their type's range
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # PIL inverts these in 8 bits only
        values = top - values
    return _from_array(values, where, top)


def _unreadable(where: str, error: Exception) -> UserError:
    reason = "unknown format" if isinstance(error, UnidentifiedImageError) else one_line(error)
    return UserError(f"{where}: not a readable image, or truncated ({reason})")


def _too_little_memory(where: str, image: Image.Image | None = None) -> UserError:
    size = f" of {image.width} x {image.height} pixels" if image else ""
    return UserError(f"{where}: there is not enough memory to read the image{size}; free memory, or make it smaller")


def check_size(height: int, width: int, where: str) -> None:
    """Refuse an image that would take too much memory.

    Raises:
        UserError: it has more than LARGEST_IMAGE pixels, or one side is more than LONGEST times the other.
    """
    if height * width > LARGEST_IMAGE:
        raise LargeImageError(
            f"{where}: the image has {width} x {height} pixels; at most {LARGEST_IMAGE:,} are read, so make it smaller"
        )
    if max(height, width) > LONGEST * max(1, min(height, width)):
        raise UserError(
            f"{where}: the image has {width} x {height} pixels; one side may be at most {LONGEST} times the other:"
            " crop it or cut it in pieces"
        )


def pixels_of(raw: bytes, where: str) -> int:
    """Return how many pixels the image in the bytes of a file has; only its header is read.

    Raises:
        UserError: they are not an image.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        width, height = _opened(raw, where).size
    return width * height


def _check_tiles(tags: Any, where: str) -> None:
    """Refuse a TIFF with large tiles: each tile is decoded as a whole, however small the image is.

    Raises:
        UserError: a tile has more than LARGEST_IMAGE pixels.
    """
    width, height = (tags.get(tag, 1) for tag in TILE_SIDES)
    if type(width) is not int or type(height) is not int or width * height > LARGEST_IMAGE:
        raise UserError(
            f"{where}: the image has tiles of {width} x {height} pixels; at most {LARGEST_IMAGE:,} are read, so save it"
            " without tiles"
        )


def _from_array(raw: np.ndarray[Any, Any] | Tensor, where: str, top: int = 255) -> np.ndarray[Any, Any]:
    """Return uint8 [h, w, 3]; integers other than uint16 are scaled from 0..`top`."""
    raw = raw if isinstance(raw, Tensor) else np.asarray(raw)  # an np.matrix always has two axes
    layouts = (0, -1) if isinstance(raw, Tensor) else (-1, 0)
    channels = next((axis for axis in layouts if raw.ndim == 3 and raw.shape[axis] in CHANNELS), None)
    if raw.ndim != 2 and channels is None:
        raise UserError(f"{where}: an image array has shape [h, w], [h, w, c] or [c, h, w], not {list(raw.shape)}")
    if 0 in raw.shape:
        raise UserError(f"{where}: the image array is empty, of shape {list(raw.shape)}")
    height, width = raw.shape[1:] if channels == 0 else raw.shape[:2]
    check_size(height, width, where)  # before anything is copied
    array = _values(raw, where) if isinstance(raw, Tensor) else raw
    array = _to_uint8(array[:, :, None] if channels is None else np.moveaxis(array, channels, -1), where, top)
    return np.broadcast_to(array, (*array.shape[:2], 3)) if array.shape[2] == 1 else array[:, :, :3]


def _values(raw: Tensor, where: str) -> np.ndarray[Any, Any]:
    """Return a tensor's values as an array."""
    try:
        raw = raw.detach().cpu()
        array: np.ndarray[Any, Any] = (raw.float() if raw.is_floating_point() else raw).numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:  # sparse, quantised, without values (meta), ...
        if is_shortage(error):
            raise
        raise UserError(
            f"{where}: a tensor of type {raw.dtype} and layout {raw.layout} on {raw.device} cannot be read as an image;"
            " give a dense tensor of numbers"
        ) from None
    return array


def _to_uint8(array: np.ndarray[Any, Any], where: str, top: int) -> np.ndarray[Any, Any]:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # in either byte order
        top = 65535
    elif array.dtype.kind == "f":
        top = 1
    elif array.dtype.kind not in "iu":
        raise UserError(f"{where}: image values of type {array.dtype} are not supported; use uint8")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= top):  # written so that NaN fails too
        remedy = "; divide by 255, or give uint8" if top == 1 and 1 < high <= 255 and low >= 0 else ""
        raise UserError(
            f"{where}: image values of type {array.dtype} must lie in 0..{top}, not between {low} and {high}{remedy}"
        )
    scaled = np.empty(array.shape, np.uint8)
    step = max(1, STRIP // array[0].size)
    for row in range(0, len(array), step):
        part = slice(row, row + step)
        scaled[part] = np.rint(array[part].astype(np.float64) * (255 / top))
    return scaled
