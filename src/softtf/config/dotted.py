"""Settings of a tree by their dotted names, such as `learner.adapt.layers`."""

from collections.abc import Mapping
from typing import Any, TypeVar

from softtf.config.tree import from_dict, to_dict
from softtf.errors import UserError, unknown

T = TypeVar("T")


def with_settings(config: T, settings: Mapping[str, Any]) -> T:
    """Return the tree with some of its settings changed, each by its dotted name, such as `learner.adapt.layers`.

    Raises:
        UserError: There is no setting of that name, or the value is refused.
    """
    plain = to_dict(config)
    for name, value in settings.items():
        place, (*path, last) = plain, name.split(".")
        for part in path:
            if part in place and place[part] is None:
                raise UserError(f"setting {name!r}: there is no {part} here (it is null), so '{name}' sets nothing")
            if not isinstance(place.get(part), dict):
                raise UserError(f"setting {name!r}: {unknown('part', part, [k for k in place if k != 'kind'])}")
            place = place[part]
        as_text = isinstance(place.get(last), str) and type(value) is int  # layers=12 is text, like layers=10-12
        place[last] = str(value) if as_text else value
    return from_dict(type(config), plain, "settings")


def flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a tree of settings, as `to_dict` makes it, as values by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in plain.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def first_difference(one: Any, other: Any, name: str) -> tuple[str, Any, Any]:
    """Return the dotted name of the first setting in which two trees differ, and its value in each.

    Args:
        one: a tree as `to_dict` makes it, or a part of one.
        other: the tree to compare with it.
        name: the dotted name of this part.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            if one.get(key) != other.get(key):
                return first_difference(one.get(key), other.get(key), f"{name}.{key}")
    return name, one, other
