"""Arguments of public functions: one of the wrong type is refused in one line, as a setting is.

Unchecked, a flag given as "no" would count as true, and a folder given as bytes would end in another library's error.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import cache, wraps
from inspect import signature
from pathlib import Path
from reprlib import repr as shortened
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from softtf.config.tree import check_value
from softtf.config.words import NAMES, bare
from softtf.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")
WORDS: dict[Any, str] = {
    Sequence: "a list",
    Iterable: "a list",
    Mapping: "a dict",
    tuple: "a pair",
    Callable: "a function",
}
SECRETS = ("token",)
"""Arguments that are text, of which no message shows the value."""
TAKE_ALL = {Any, Hashable, bytes}  # bytes are keys: whoever reads them refuses others, and shows none


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` wrapped to check its arguments against their types before it runs.

    Flags, numbers, words and paths are checked and converted as settings are (`check_value`). Of another type, the
    argument must be an object; the parts of lists, pairs and dicts are checked too. `Any`, `Hashable` and `bytes` take
    everything.

    Raises:
        UserError: the wrapped function, if an argument has another type.
    """
    form = signature(function)

    @cache  # at the first call: when a function is defined, its module does not know all types yet
    def hints() -> dict[str, Any]:
        found = get_type_hints(function, include_extras=True)
        return {name: found[name] for name in form.parameters if name in found}

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = form.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if name in SECRETS and not isinstance(value, str | None):
                raise UserError(f"{name} must be text")
            bound.arguments[name] = check_argument(hints().get(name, Any), value, name)
        return function(*bound.args, **bound.kwargs)

    return call


def check_argument(hint: Any, value: Any, where: str) -> Any:
    """Return an argument as the type it must have; `where` is what the message calls it.

    Raises:
        UserError: it has another type.
    """
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if not TAKE_ALL.isdisjoint(members) or (value is None and NoneType in members):
        return value
    settings = [member for member in members if bare(member) in NAMES or get_origin(member) is Literal]
    others = [member for member in members if member not in settings]
    for member in others:
        if _is_one(value, member):
            for part_hint, part, place in _parts(value, member):
                check_argument(part_hint, part, f"{where}[{place}]")
            return value
    if Path in settings:  # a string for one has to be a path too
        check_value(Path, value, where)
    if set(settings) - {NoneType}:
        return check_value(Union[tuple(settings)], value, where)  # noqa: UP007
    words = dict.fromkeys(_words(_kind(member)) for member in others)
    remedy = f"; write {where}=[{shortened(value)}]" if "a list" in words and isinstance(value, str) else ""
    raise UserError(f"{where} must be {' or '.join(words)}, not {shortened(value)}{remedy}")


def _words(kind: type[Any]) -> str:
    """Return what a message calls an object of a type: its own `called`, if it has one."""
    called: str = getattr(kind, "called", f"a {kind.__name__}")
    return WORDS.get(kind, called)


def _kind(member: Any) -> type[Any]:
    return cast(type[Any], get_origin(member) or member)


def _is_one(value: Any, member: Any) -> bool:
    """Return whether a value is of a type, apart from its parts: an array is a sequence too, but a text is not."""
    kind = _kind(member)
    if kind is Sequence:
        return isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
    if kind is tuple:
        return isinstance(value, tuple | list) and len(value) == len(get_args(member))
    return isinstance(value, kind)


def _parts(value: Any, member: Any) -> Iterable[tuple[Any, Any, object]]:
    """Yield the type, the value and the place of each part to check; an iterator can be read only once, so not here."""
    kind, hints = _kind(member), get_args(member)
    if kind in (Sequence, Iterable) and isinstance(value, Collection) and hints[0] not in TAKE_ALL:
        yield from ((hints[0], part, i) for i, part in enumerate(value))
    elif kind is tuple:
        yield from zip(hints, value, range(len(hints)), strict=True)
    elif kind is Mapping:
        yield from ((hints[1], part, shortened(key)) for key, part in value.items())
