"""Labels as JSON, from which each comes back with its type."""

import base64
import binascii
import math
from collections.abc import Hashable
from contextlib import suppress
from typing import Any

import numpy as np

from softtf.errors import UserError


def encode_label(label: Hashable) -> Any:
    """Turn a label into JSON that `decode_label` turns back exactly, with its type: 1, True, 1.0 and "1" differ.

    Tuples become lists, bytes become {"bytes": base64}, and numpy scalars become Python scalars. numpy's times are
    refused, as `item` would make integers of nanoseconds.

    Raises:
        UserError: The label is not a str, int, bool, finite float, None, bytes or a tuple of these.
    """
    if isinstance(label, np.generic) and not isinstance(label, np.datetime64 | np.timedelta64):
        value = label.item()
        if not isinstance(value, np.generic):  # a long double returns itself
            return encode_label(value)
    # Exact types: a subclass (an enum, a named tuple) would come back as another type.
    if label is None or type(label) in (bool, int) or (type(label) is float and math.isfinite(label)):
        return label
    if type(label) is str and is_unicode(label):
        return label
    if type(label) is bytes:
        return {"bytes": base64.b64encode(label).decode()}
    if type(label) is tuple:
        return [encode_label(part) for part in label]
    kind, why = type(label).__name__, ""
    if type(label) is str:
        why = ", which is not Unicode text, like file names that are not UTF-8"
    elif plain := next((base for base in (str, int, float, bytes, tuple) if base in type(label).__mro__[1:]), None):
        why = f", which a file would give back as {plain.__name__}"
    raise UserError(f"cannot save the label {label!r} of type {kind}{why}; use strings or integers")


def is_unicode(text: str) -> bool:
    """Return whether text can be written as UTF-8: file names that are not UTF-8 cannot."""
    # JSON would join two lone surrogates into one character, and UTF-8 cannot hold one.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def decode_label(value: Any) -> Hashable:
    """Return the label that `encode_label` turned into `value`.

    Raises:
        UserError: `encode_label` makes no such value.
    """
    if isinstance(value, list):
        return tuple(decode_label(part) for part in value)
    if isinstance(value, dict) and value.keys() == {"bytes"} and isinstance(value["bytes"], str):
        with suppress(binascii.Error, ValueError):
            return base64.b64decode(value["bytes"], validate=True)
    if (
        value is None
        or isinstance(value, int)
        or (isinstance(value, str) and is_unicode(value))
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    raise UserError(f"{value!r} is not a saved label; expected a string, number, true, false, null or list")
