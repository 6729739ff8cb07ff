"""Raw images of any kind to RGB, within bounds that are checked before memory is taken."""

import io
import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from softtf.errors import UserError

CHANNELS = (1, 3, 4)
LARGEST_FILE = 2**29  # bytes
LARGEST_IMAGE = 2**28 // 3  # pixels: a quarter of a GiB as RGB, from where on Pillow warns of a decompression bomb
LONGEST = 100  # times the short side: resized by the short side, so much longer ones would fill the memory
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
WHITE_IS_ZERO, SIGNED = 0, 2
View = Callable[[Image.Image], Image.Image]


def decode(raw: Any, where: str, view: View | None = None) -> Tensor:
    """Return a raw image as RGB.

    Args:
        raw: a path, the bytes of a file, a `{"bytes", "path"}` dict, a PIL image, or a numpy array or torch tensor
            of shape [h, w], [h, w, c] or [c, h, w] with 1, 3 or 4 channels (alpha is dropped; where both
            readings fit, arrays are read as [h, w, c] and tensors as [c, h, w]). Arrays hold integers in
            0..255, uint16 in 0..65535, booleans, or floats in [0, 1]; so do PIL's modes. Its mode I holds
            0..65535, or, of an image that was not opened from a file and has no value above 255, 0..255. TIFFs of
            fewer bits, of signed ones and with white as zero are read as what they say. The EXIF orientation is
            honoured.
        where: what errors call the image if it has no file name.
        view: given the opened picture of a file or of bytes before its pixels are read; returns the part to be read.

    Returns:
        uint8 [3, h, w].

    Raises:
        UserError: the file is missing, empty, cut off or no image; values or shape are none of the above; the file has
            more than LARGEST_FILE bytes, the image more than LARGEST_IMAGE pixels or sides in a ratio above LONGEST.
    """
    if isinstance(raw, dict):
        if not {"bytes", "path"} & raw.keys():
            found = ", ".join(map(repr, raw))[:80]
            raise UserError(
                f"{where}: a dict holds the bytes or the path of an image, not {found}; give the image itself"
            )
        path = raw.get("path")
        where = f"{where} ({path})" if path else where
        raw = raw["bytes"] if raw.get("bytes") is not None else path
    if isinstance(raw, str | os.PathLike):
        where, raw = f"{where} ({raw})", _read(Path(raw), where)
    if isinstance(raw, bytes | bytearray | memoryview):
        pixels = _from_bytes(bytes(raw), where, view)
    elif isinstance(raw, Image.Image):
        pixels = _from_pil(raw, where)
    elif isinstance(raw, np.ndarray | Tensor):
        pixels = _from_array(raw, where)
    else:
        raise UserError(f"{where}: expected an image, an array or a path, not {type(raw).__name__}")
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))  # a copy: the input stays its owner's


def _read(path: Path, where: str) -> bytes:
    try:
        about = path.stat()
        if about.st_size > LARGEST_FILE:
            raise UserError(
                f"{where}: the image file {str(path)!r} has {about.st_size:,} bytes; at most {LARGEST_FILE:,} are read"
            )
        if not stat.S_ISREG(about.st_mode):  # a device or a pipe might never end
            raise UserError(f"{where}: the image file {str(path)!r} cannot be read (it is not a file)")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, UserError):
            raise
        reason = getattr(error, "strerror", None) or error
        problem = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({reason})"
        raise UserError(f"{where}: the image file {str(path)!r} {problem}") from error


def _from_bytes(raw: bytes, where: str, view: View | None) -> np.ndarray[Any, Any]:
    if not raw:
        raise UserError(f"{where}: the image file is empty (0 bytes)")
    if len(raw) > LARGEST_FILE:
        raise UserError(f"{where}: the image has {len(raw):,} bytes; at most {LARGEST_FILE:,} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound stands below
            image = Image.open(io.BytesIO(raw))
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{where}: the image has too many pixels, make it smaller; at most {LARGEST_IMAGE:,} are read ({error})"
        ) from None
    except Exception as error:  # PIL raises a dozen kinds, from SyntaxError to struct.error, for broken files
        raise _unreadable(where, error) from error
    return _from_pil(image, where, view)


def _from_pil(image: Image.Image, where: str, view: View | None = None) -> np.ndarray[Any, Any]:
    check_size(image.height, image.width, where)
    tags: Any = getattr(image, "tag_v2", {})
    made, signed = image.format is None, tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED
    try:
        if view:
            image = view(image)
        image = ImageOps.exif_transpose(image)
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        wide = image.mode.startswith("I") or image.mode == "F"  # more than 8 bits: PIL would clip at 255
        signed_bytes = signed and image.mode == "L"  # which PIL reads as if they had no sign
        values = np.asarray(image if wide or signed_bytes else image.convert("RGB"))
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
        values = values.astype(np.int32)  # else an array of 16 bits would stand for its own whole range
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # PIL turns these round in 8 bits only
        values = top - values
    return _from_array(values, where, top)


def _unreadable(where: str, error: Exception) -> UserError:
    reason = "of no known format" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
    return UserError(f"{where}: not a readable image, or cut off ({reason})")


def check_size(height: int, width: int, where: str) -> None:
    """Refuse an image that is too large or too long to be prepared in little memory.

    Raises:
        UserError: it has more than LARGEST_IMAGE pixels, or one side is more than LONGEST times the other.
    """
    if height * width > LARGEST_IMAGE:
        raise UserError(
            f"{where}: the image has {width} x {height} pixels; at most {LARGEST_IMAGE:,} are read, so make it smaller"
        )
    if max(height, width) > LONGEST * max(1, min(height, width)):
        raise UserError(
            f"{where}: the image has {width} x {height} pixels; one side may be {LONGEST} times the other, no more:"
            " crop it or cut it in pieces"
        )


def _from_array(raw: np.ndarray[Any, Any] | Tensor, where: str, top: int = 255) -> np.ndarray[Any, Any]:
    """Return uint8 [h, w, 3]; integers (but those of 16 bits without sign) are scaled from 0..`top`."""
    if isinstance(raw, Tensor):
        try:
            raw = raw.detach().cpu()
            array = (raw.float() if raw.is_floating_point() else raw).numpy()
        except (RuntimeError, TypeError, NotImplementedError):  # sparse, quantised, without values (meta), ...
            raise UserError(
                f"{where}: a tensor of type {raw.dtype} and layout {raw.layout} on {raw.device} has no values to read"
                " as they are; give a dense one of numbers"
            ) from None
        layouts = (0, -1)
    else:
        array, layouts = np.asarray(raw), (-1, 0)  # of a np.matrix, which has two axes always
    if array.ndim == 2:
        array = array[:, :, None]
    elif array.ndim == 3 and array.shape[layouts[0]] in CHANNELS:
        array = np.moveaxis(array, layouts[0], -1)
    elif array.ndim == 3 and array.shape[layouts[1]] in CHANNELS:
        array = np.moveaxis(array, layouts[1], -1)
    else:
        raise UserError(f"{where}: an image array has shape [h, w], [h, w, c] or [c, h, w], not {list(raw.shape)}")
    if not array.size:
        raise UserError(f"{where}: the image array is empty, of shape {list(raw.shape)}")
    check_size(array.shape[0], array.shape[1], where)
    array = _to_uint8(array, where, top)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[:, :, :3]


def _to_uint8(array: np.ndarray[Any, Any], where: str, top: int) -> np.ndarray[Any, Any]:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # of either byte order
        top = 65535
    elif array.dtype.kind == "f":
        top = 1
    elif array.dtype.kind not in "iu":
        raise UserError(f"{where}: image values of type {array.dtype} are not understood; use uint8")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= top):  # written so that NaN fails too
        remedy = "; divide by 255, or give uint8" if top == 1 and 1 < high <= 255 and low >= 0 else ""
        raise UserError(
            f"{where}: image values of type {array.dtype} must lie in 0..{top}, not between {low} and {high}{remedy}"
        )
    return np.rint(array.astype(np.float64) * (255 / top)).astype(np.uint8)
