"""Settings as a tree of frozen dataclasses, and the same tree as plain dicts and YAML, read strictly."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from softtf.config.bounds import Bound
from softtf.config.shapes import fitting
from softtf.config.words import NAMES, bare, described, wrong
from softtf.config.yaml import dump_yaml, load_yaml
from softtf.errors import UserError, unknown
from softtf.registry import Registry

T = TypeVar("T")

LARGEST_INT = 2**63
ANY_VALUE = (bool, str, float, NoneType)
"""Types of which a setting may have every value."""


class Settings:
    """Base of frozen dataclasses whose fields are settings: a new one checks each field against its type.

    The type carries the bounds (`Annotated[int, AtLeast(1)]`, see `softtf.config.bounds`). Values are converted as
    those of a file are: an int to a float, a string to a path, a list to a tuple. A subclass that checks more, such as
    two fields together, overrides `__post_init__` and calls `super().__post_init__()` first.
    """

    def __post_init__(self) -> None:
        """Check and convert the fields.

        Raises:
            UserError: A field has the wrong type or is out of bounds.
            TypeError: A field has a type that settings cannot have.
        """
        start = f"{self.kind}." if isinstance(self, Spec) and hasattr(self, "kind") else ""
        hints = hints_of(cast(Any, type(self)))
        for field in dataclasses.fields(cast(Any, self)):
            if field.init:
                value = check_value(hints[field.name], getattr(self, field.name), start + field.name)
                object.__setattr__(self, field.name, value)

    @classmethod
    def of_earlier(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings of an earlier version in today's words; a class whose words changed overrides this."""
        return settings


class Spec(Settings):
    """Base of settings that choose between kinds, such as one learner of several.

    A family is a direct subclass: `class LearnerSpec(Spec, family="learner")`. Its members are frozen dataclasses:
    `class DualPrompt(LearnerSpec, kind="dual-prompt")`. To define a member, in any package, is to register it.
    """

    kind: ClassVar[str]
    _family: ClassVar[str]
    _kinds: ClassVar[Registry[type["Spec"]]]

    def __init_subclass__(cls, family: str | None = None, kind: str | None = None, **kwargs: Any) -> None:
        """Open a family or register a kind of one.

        Raises:
            UserError: another class of the family has this kind.
            TypeError: there is no family yet.
        """
        super().__init_subclass__(**kwargs)
        if family is not None:
            cls._family, cls._kinds = family, Registry(family)
        kind = kind or cls.__dict__.get("kind")  # dataclass(slots=True) makes the class again, without arguments
        if kind is None:
            return
        if not hasattr(cls, "_kinds"):
            raise TypeError(f"{cls.__qualname__} has a kind but no family; derive it from a family of Spec")
        cls._kinds.add(kind, cls, cls)
        cls.kind = kind

    @classmethod
    def unknown_kind(cls, kind: str) -> UserError:
        """Return the error for a kind that this class does not have."""
        return unknown(cls._family, kind, cls.kinds(), imports=kind not in cls._kinds)

    @classmethod
    def of_other_kinds(cls, setting: str) -> UserError | None:
        """Return the error for a setting that only other kinds of the family have; None if none has it."""
        others = sorted(k for k, other in cls._kinds.items() if setting in getattr(other, "__dataclass_fields__", ()))
        if not others or cls.kind in others:
            return None
        return UserError(
            f"unknown setting {setting!r} of {cls._family} {cls.kind!r}; kinds that have it: {', '.join(others)}"
        )

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """Return the registered classes of this family by kind."""
        return {name: member for name, member in cls._kinds.items() if issubclass(member, cls)}


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a dataclass tree into plain dicts, lists and scalars; the `kind` of a Spec comes first.

    Raises:
        TypeError: A value has a type that settings cannot have.
    """
    plain: dict[str, Any] = {}
    if isinstance(config, Spec):
        if config.kinds().get(getattr(config, "kind", "")) is not type(config):
            raise TypeError(f"{type(config).__qualname__} has no kind of its own; define it with kind=...")
        plain["kind"] = config.kind
    for field in dataclasses.fields(config):
        if field.init:
            plain[field.name] = _plain(getattr(config, field.name), field.name)
    return plain


def _plain(value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple | list):
        return [_plain(part, name) for part in value]
    if isinstance(value, Path):
        return str(value)
    value = _of_python(value)
    if value is None or type(value) in NAMES:
        return value
    raise TypeError(f"the setting {name} cannot hold {value!r} of type {type(value).__name__}")


def _of_python(value: Any) -> Any:
    """Return a value, a number of numpy's as Python's; numpy, slow to load, is there if a number of its is."""
    number: Any = getattr(sys.modules.get("numpy"), "generic", ())
    return value.item() if isinstance(value, number) else value


def from_dict(cls: type[T], data: Any, where: str = "config") -> T:
    """Build the dataclass, or the member of a Spec family that `kind` names, from plain data.

    Args:
        cls: The dataclass or family.
        data: What `to_dict` makes; settings with a default may be missing.
        where: The dotted place that messages name.

    Raises:
        UserError: A setting is unknown, missing, of the wrong type, or refused by the dataclass.
        TypeError: A field has a type that settings cannot have.
    """
    if not isinstance(data, Mapping):
        raise wrong(cls, data, where)
    settings = dict(data)
    target = _member(cls, settings, where) if issubclass(cls, Spec) else cls
    if issubclass(target, Settings):
        settings = target.of_earlier(settings)
    fields = {field.name: field for field in dataclasses.fields(cast(Any, target)) if field.init}
    hints = hints_of(cast(Any, target))
    for key in settings:
        if key not in fields:
            found = issubclass(target, Spec) and target.of_other_kinds(str(key))
            raise UserError(f"{where}: {found or unknown('setting', str(key), fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in settings:
            raise UserError(f"{where}.{name} is missing; it must be {described(hints[name])}")
    values = {key: check_value(hints[key], value, f"{where}.{key}") for key, value in settings.items()}
    try:
        return cast(T, target(**values))
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _member(family: type[Spec], settings: dict[Any, Any], where: str) -> type[Spec]:
    """Take `kind` out of the settings and return its class."""
    kinds = family.kinds()
    kind = settings.pop("kind", None)
    if kind is None and family in kinds.values():  # the field's type leaves no choice
        return family
    if kind is None:
        raise UserError(f"{where}.kind is missing; it must be one of {', '.join(sorted(kinds))}")
    if not isinstance(kind, str):
        raise wrong(str, kind, f"{where}.kind")
    if kind not in kinds:
        raise UserError(f"{where}: {family.unknown_kind(kind)}")
    return kinds[kind]


@cache  # to read annotations takes longer than to check what they annotate
def hints_of(cls: type) -> dict[str, Any]:
    """Return the type of each field of a dataclass, with its bounds."""
    return get_type_hints(cls, include_extras=True)


class _OutOfBounds(UserError):
    """The type is right, the value is not."""


def check_value(hint: Any, value: Any, where: str) -> Any:
    """Return a value as the type it must have.

    Args:
        hint: The type: of a setting, or of a function's argument that has bounds.
        value: A value of that type, or what JSON or YAML gives for one.
        where: The dotted place that messages name.

    Raises:
        UserError: The value has another type or is out of bounds.
        TypeError: Settings cannot have this type.
    """
    if type(value) is hint and hint in ANY_VALUE:
        return value
    value, origin, args = _of_python(value), get_origin(hint), get_args(hint)
    if origin is Annotated:
        value = check_value(args[0], value, where)
        bounds = [mark for mark in args[1:] if isinstance(mark, Bound)]
        if not all(bound.holds(value) for bound in bounds):
            raise _OutOfBounds(f"{where} must be {' and '.join(map(str, bounds))}, not {value}")
        return value
    if origin in (Union, UnionType):
        return _union(hint, value, where)
    if origin is Literal:
        if any(type(value) is type(option) and value == option for option in args):
            return value
        if isinstance(value, str):
            raise UserError(f"{where}: {unknown('value', value, [o for o in args if isinstance(o, str)])}")
        raise wrong(hint, value, where)
    if origin is tuple:
        return _tuple(hint, value, where)
    if origin is dict:  # whose values are read elsewhere
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise wrong(hint, value, where)
        return value
    if dataclasses.is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, Spec)):
        return value if isinstance(value, cast(type, hint)) else from_dict(cast(type[Any], hint), value, where)
    if hint not in NAMES:
        raise TypeError(f"{where}: settings of type {hint} are not supported")
    if hint is Path and isinstance(value, str | os.PathLike) and _is_path(os.fspath(value)):
        return Path(value)
    if hint is float and type(value) is int and abs(value) < 2**1023:
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise wrong(hint, value, where)
    if hint is int and abs(value) >= LARGEST_INT:
        shown = value if value.bit_length() < 256 else f"one of {value.bit_length():,} bits"
        raise _OutOfBounds(f"{where} must be an integer of less than 64 bits, not {shown}")
    return value


def _is_path(text: str | bytes) -> bool:
    """Return whether the system takes this as the name of a file."""
    with suppress(UnicodeEncodeError):
        return isinstance(text, str) and b"\0" not in os.fsencode(text)
    return False


def _tuple(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    parts = get_args(hint)
    if not isinstance(value, list | tuple):
        raise wrong(hint, value, where)
    if parts[-1:] == (...,):
        parts = parts[:1] * len(value)
    if len(parts) != len(value):
        raise UserError(f"{where} must be {described(hint)}, not {len(value)} values")
    pairs = zip(parts, value, strict=True)
    return tuple(check_value(part, item, f"{where}[{i}]") for i, (part, item) in enumerate(pairs))


def _union(hint: Any, value: Any, where: str) -> Any:
    telling = []  # errors that say more than "none of these"
    for member in fitting(hint, value):
        try:
            return check_value(member, value, where)
        except UserError as error:
            if bare(member) not in NAMES or isinstance(error, _OutOfBounds):
                telling.append(error)
    raise telling[0] if len(telling) == 1 else wrong(hint, value, where)


def to_yaml(config: Any) -> str:
    """Write a dataclass tree as YAML text that `from_yaml` reads back to an equal tree."""
    return dump_yaml(to_dict(config))


def from_yaml(cls: type[T], text: str, where: str = "config") -> T:
    """Read YAML text into the dataclass or Spec family `cls`.

    Args:
        cls: The dataclass or family.
        text: The YAML.
        where: What messages name as the source, such as the file.

    Raises:
        UserError: The text is not YAML (the message gives the line), or as in `from_dict`.
    """
    return from_dict(cls, load_yaml(text, where), where)
