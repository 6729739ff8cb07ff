"""What scikit-learn calls X: rows of numbers, which are made images, or samples as softtf takes them."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from softtf.errors import UserError
from softtf.streams import Examples


def as_samples(X: Any) -> Any | None:
    """Return X if it has a sample in each place (paths, texts, images); None if it is rows of numbers, or wrong.

    A frame of one column of such samples, as a ColumnTransformer gives it, is that column.
    """
    if isinstance(X, Examples):
        return X
    if hasattr(X, "columns") and hasattr(X, "iloc"):
        return as_samples(X.iloc[:, 0]) if len(X.columns) == 1 else None
    if getattr(X, "ndim", None) == 2 and getattr(X, "dtype", None) == np.dtype(object) and X.shape[1] == 1:
        X = X[:, 0]
    if getattr(X, "ndim", 1) in (3, 4):
        return list(X)  # images, however few
    if getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__") or not len(X) or isinstance(X, str | bytes | Mapping):
        return None
    first = X.iloc[0] if hasattr(X, "iloc") else X[0]
    one = isinstance(first, str | bytes | os.PathLike | Mapping | Image.Image) or getattr(first, "ndim", 0) >= 2
    return (list(X) if hasattr(X, "iloc") else X) if one else None


def as_images(
    rows: np.ndarray[Any, Any], shape: Sequence[int] | None, span: tuple[float, float]
) -> list[np.ndarray[Any, Any]]:
    """Return rows of numbers [n, columns] as images in [0, 1].

    Args:
        rows: the numbers.
        shape: of an image, [h, w] or [h, w, c]; None: a square if the columns make one, else one line.
        span: the numbers that stand for black and white.

    Raises:
        UserError: the shape does not fit, or a number is outside the span.
    """
    columns = rows.shape[1]
    side = math.isqrt(columns)
    size = tuple(shape) if shape is not None else (side, side) if side * side == columns else (1, columns)
    if math.prod(size) != columns or len(size) not in (2, 3):
        raise UserError(f"image_shape={shape!r} does not fit rows of {columns} numbers")
    low, high = span
    if not low < high:
        raise UserError(f"value_range must be (black, white) with black below white, not {span!r}")
    least, most = float(rows.min()), float(rows.max())
    if least < low or most > high:
        raise UserError(
            f"rows hold numbers from {least:g} to {most:g}, outside value_range={span!r}; give the numbers that stand"
            " for black and white"
        )
    return list(((rows - low) / (high - low)).reshape(len(rows), *size))
