"""What values a setting may have, in words."""

import reprlib
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from softtf.config.bounds import Bound
from softtf.errors import UserError

NAMES: dict[object, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    Path: "a path",
    NoneType: "null",
}


def bare(hint: Any) -> Any:
    """Return a type without what annotates it."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def described(hint: Any, null: str = "null") -> str:
    """Say in words what values a type has: an integer (at least 1), or one of some words; `null` stands for None."""
    args = get_args(hint)
    if get_origin(hint) is Annotated:
        bounds = " and ".join(str(mark) for mark in args[1:] if isinstance(mark, Bound))
        return described(args[0], null) + (f" ({bounds})" if bounds else "")
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(described(member, null) for member in args)
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(option) for option in args)
    if get_origin(hint) is tuple:
        many = args[-1:] == (...,)
        return f"a list, each {described(args[0], null)}" if many else f"a list of {len(args)} values"
    if kinds := getattr(hint, "kinds", None):  # a `Spec`
        return f"settings with a kind ({', '.join(sorted(kinds()))})"
    return (NAMES | {NoneType: null}).get(hint, "settings by name")


def wrong(hint: Any, value: Any, where: str) -> UserError:
    """Return the error for a value that a setting cannot have."""
    shown = "null" if value is None else reprlib.repr(value)
    return UserError(f"{where} must be {described(hint)}, not {shown}")
