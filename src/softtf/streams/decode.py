"""Raw images of any kind to RGB."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from softtf.errors import UserError

CHANNELS = (1, 3, 4)


def decode(raw: Any, where: str) -> Tensor:
    """Return a raw image as RGB.

    Args:
        raw: a path, encoded bytes, a `{"bytes", "path"}` dict, a PIL image, or a numpy array or torch tensor
            of shape [h, w], [h, w, c] or [c, h, w] with 1, 3 or 4 channels (alpha is dropped; where both
            readings fit, arrays are read as [h, w, c] and tensors as [c, h, w]). Arrays hold integers in
            0..255, uint16 in 0..65535, booleans, or floats in [0, 1]. The EXIF orientation is honoured.
        where: what errors call the image if it has no file name.

    Returns:
        uint8 [3, h, w].

    Raises:
        UserError: the file is missing, empty, cut off or no image; values or shape are none of the above.
    """
    if isinstance(raw, dict):
        path = raw.get("path")
        where = f"{where} ({path})" if path else where
        raw = raw["bytes"] if raw.get("bytes") is not None else path
    if isinstance(raw, str | Path):
        where, raw = f"{where} ({raw})", _read(Path(raw), where)
    if isinstance(raw, bytes | Image.Image):
        pixels = _from_pil(raw, where)
    elif isinstance(raw, np.ndarray | Tensor):
        pixels = _from_array(raw, where)
    else:
        raise UserError(f"{where}: expected an image, an array or a path, not {type(raw).__name__}")
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))  # a copy: the input stays its owner's


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise UserError(f"{where}: the image file {str(path)!r} {problem}") from error


def _from_pil(raw: bytes | Image.Image, where: str) -> np.ndarray[Any, Any]:
    if raw == b"":
        raise UserError(f"{where}: the image file is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(raw)) if isinstance(raw, bytes) else raw
        image = ImageOps.exif_transpose(image)
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        wide = image.mode.startswith("I") or image.mode == "F"  # more than 8 bits: PIL would clip at 255
        values = np.asarray(image if wide else image.convert("RGB"))
    except Exception as error:  # PIL raises a dozen kinds, from SyntaxError to struct.error, for broken files
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        raise UserError(f"{where}: not a readable image, or cut off ({reason})") from error
    if values.dtype.kind == "i":  # mode "I" is how older versions of PIL read 16 bits
        return _from_array(values, where, top=65535)
    return _from_array(values, where)


def _from_array(raw: np.ndarray[Any, Any] | Tensor, where: str, top: int = 255) -> np.ndarray[Any, Any]:
    """Return uint8 [h, w, 3]; integers (but uint16) are scaled from 0..`top`."""
    if isinstance(raw, Tensor):
        raw = raw.detach().cpu()
        array = (raw.float() if raw.is_floating_point() else raw).numpy()
        layouts = (0, -1)
    else:
        array, layouts = raw, (-1, 0)
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
    array = _to_uint8(array, where, top)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[:, :, :3]


def _to_uint8(array: np.ndarray[Any, Any], where: str, top: int) -> np.ndarray[Any, Any]:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        top = 65535
    elif array.dtype.kind == "f":
        top = 1
    elif array.dtype.kind not in "iu":
        raise UserError(f"{where}: image values of type {array.dtype} are not understood; use uint8")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= top):  # written so that NaN fails too
        raise UserError(
            f"{where}: image values of type {array.dtype} must lie in 0..{top}, not between {low} and {high}"
        )
    return np.rint(array.astype(np.float64) * (255 / top)).astype(np.uint8)
