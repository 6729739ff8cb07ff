"""Which types of a union a value can be of: one value, a list, or settings by name."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from softtf.config.words import NAMES, bare


def fitting(union: Any, value: Any) -> list[Any]:
    """Return the types of a union that have the shape of a value; the value's own type comes first."""
    found = [member for member in get_args(union) if _shape(member) is _value_shape(value)]
    return sorted(found, key=lambda member: bare(member) is not type(value))


def _value_shape(value: Any) -> type:
    if isinstance(value, Mapping) or dataclasses.is_dataclass(value):
        return dict
    return tuple if isinstance(value, list | tuple) else object


def _shape(hint: Any) -> type:
    hint = bare(hint)
    if get_origin(hint) is tuple:
        return tuple
    return object if hint in NAMES or get_origin(hint) is Literal else dict
