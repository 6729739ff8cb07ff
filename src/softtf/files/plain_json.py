"""JSON that anyone may have written: its size and depth are checked before its content takes memory."""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from softtf.errors import UserError, reason_of
from softtf.files.reading import read_bytes

LARGEST = 2**24
"""The most bytes of a file that is read; files of learners and runs have some thousands."""
DEEPEST = 32
"""The most levels of objects and lists; our own files have fewer than ten."""
NUMBER = (int, float)
"""The form of a number, for `fits`."""
# What is between two pieces, and a piece: a whole string or a bracket. An unterminated string reaches to the end of the
# text, and what is between belongs to the match, so that no text is searched twice.
_PIECES = re.compile(r'([^"\[\]{}]*+)("[^"\\]*+(?:\\.[^"\\]*+)*+\\?"?|[\[\]{}]|\Z)', re.DOTALL)


class ManyPartsError(UserError):
    """JSON has more parts than are read."""


def parse_json(text: str, where: str, finite: bool = True, most: int | None = None) -> Any:
    """Return the value of JSON text.

    Args:
        text: the JSON.
        where: what messages call the source.
        finite: refuse NaN and infinities, which Python writes and JSON lacks, and numbers too large for a float.
        most: the most parts: strings, brackets, and commas between values. Millions of them take Python seconds, in
            which no other thread runs. None is any number.

    Raises:
        ManyPartsError: it has more parts.
        UserError: the text is not JSON, is nested deeper than DEEPEST, or repeats a name in an object.
    """
    depth = parts = 0
    for piece in _PIECES.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(piece[2], 0)
        if depth > DEEPEST:
            raise UserError(f"{where} cannot be read: its lists and objects are nested more than {DEEPEST} deep")
        if most is not None:
            parts += bool(piece[2]) + piece[1].count(",")
            if parts > most:
                raise ManyPartsError(f"{where} cannot be read: it has more than {most} values")
    hooks: dict[str, Any] = {"parse_constant": _no_number, "parse_float": _finite} if finite else {}
    try:
        return json.loads(text, object_pairs_hook=_object, **hooks)
    except ValueError as error:  # also an integer of more digits than Python reads
        raise UserError(f"{where} cannot be read: {str(error).partition(';')[0]}") from None


def read_small(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        UserError: the file is missing, cannot be read, is not a regular file, or is larger than LARGEST bytes.
    """
    try:
        return read_bytes(path, LARGEST)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UserError(f"{path} cannot be read: {reason_of(error)}") from None


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        UserError: as for `read_small` and `parse_json`, or the file is not UTF-8.
    """
    return _parsed(read_small(path), path)


def object_of(data: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object in `data`, the content of the file at `path`.

    Raises:
        UserError: as for `read_json`, or the value is not an object.
    """
    content = _parsed(data, path)
    if not isinstance(content, dict):
        raise UserError(f"{path} cannot be read: it does not hold a JSON object")
    return content


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; errors are as for `read_small` and `object_of`."""
    return object_of(read_small(path), path)


def _parsed(data: bytes, path: Path) -> Any:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read: it is not UTF-8 text: {error}") from None
    return parse_json(text, str(path))


def fits(value: Any, form: Any) -> bool:
    """Return whether a JSON value has a form.

    Args:
        value: as `json` gives it.
        form: a type (a boolean is not a number); a tuple of forms: any of them; `[form]`: a list of that form;
            `{str: form}`: an object whose values have that form; `{"name": form, ...}`: an object with these names and
            perhaps others; or None.
    """
    if isinstance(form, tuple):
        return any(fits(value, one) for one in form)
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(part, form[0]) for part in value)
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return False
        if str in form:
            return all(fits(part, form[str]) for part in value.values())
        return all(name in value and fits(value[name], part) for name, part in form.items())
    return value is None if form is None else type(value) is form and (form is not int or abs(value) < 2**63)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, and refuse a repeated name: Python would silently take the last value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"{twice[:80]!r} is given twice")
    return found


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not a JSON number")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is too large for a float")
    return number
