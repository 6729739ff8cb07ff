"""Read commands and settings from the command line with tyro; errors are one line.

tyro prints its errors in a box and exits. That text is dropped. The cause is the `UserError` of a check of settings, or
it is found by parsing each option alone.
"""

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from softtf.cli.options.command import UNPREFIXED
from softtf.config.tree import Spec, hints_of
from softtf.config.words import described
from softtf.errors import UserError, unknown, visible
from softtf.saying import say

C = TypeVar("C")
CACHE, NO_CACHE = "--feature-cache", "--no-cache"  # the second is short for `--feature-cache off`
CONFIG = (
    tyro.conf.AvoidSubcommands,
    tyro.conf.SuppressFixed,
    tyro.conf.HelptextFromCommentsOff,
    tyro.conf.PositionalMetavarFromFieldName,
)


def parse(kind: type[C], args: list[str], prog: str, default: C | None = None) -> C:
    """Return the settings of `args`, the others from `default`; `--help` prints and exits.

    Raises:
        UserError: an option or a value is wrong, in one line.
    """
    args = _with_cache_off(args, options(default or kind))
    # tyro prints values as they are: those of a file that somebody else wrote lose its colours.
    shown = io.StringIO()
    try:
        with contextlib.nullcontext() if _all_seen(default) else contextlib.redirect_stdout(shown):
            found, rest = _parse(kind, args, prog, default)
    except SystemExit as leaving:
        if not leaving.code:
            if text := shown.getvalue().rstrip():
                say(text)
            raise
        raise _reason(leaving, kind, args, prog, default) from None
    behind = args[args.index("--") + 1 :] if "--" in args else []
    if rest and rest == behind and hasattr(found, "inputs"):  # tyro fills a list of words once
        return dataclasses.replace(found, inputs=(*found.inputs, *rest))  # type: ignore[type-var]
    if rest:
        raise _unexpected(rest, default or kind, prog)
    return found


def _with_cache_off(args: list[str], known: dict[str, Any]) -> list[str]:
    """Return arguments in which `--no-cache` is spelled out, where a command has `--feature-cache`.

    Raises:
        UserError: both are given.
    """
    given = [flag.replace("_", "-") for flag, _ in _given(args)]
    if NO_CACHE not in given or CACHE not in known:
        return args
    if CACHE in given:
        raise UserError(f"{NO_CACHE} keeps no features, and {CACHE} names a folder for them; give one of the two")
    return [word for arg in args for word in ([CACHE, "off"] if arg.replace("_", "-") == NO_CACHE else [arg])]


def asks_help(args: list[str]) -> bool:
    """Return whether a command's first word asks for help."""
    return args[:1] in (["-h"], ["--help"])


def glimpse(kind: type[C], args: list[str], prog: str) -> C:
    """Return the settings of `args` for the options of `kind`; other options and help are ignored."""
    try:
        return _parse(kind, args, prog, None, add_help=False)[0]
    except SystemExit as leaving:
        known = options(kind)
        own = [word for flag, values in _given(args) if flag.replace("_", "-") in known for word in (flag, *values)]
        raise _reason(leaving, kind, own, prog, None) from None


def options(config: Any, prefix: str = "--") -> dict[str, Any]:
    """Return the type of every option of a dataclass, or of a tree of them, as tyro spells the option."""
    found: dict[str, Any] = {}
    hints = hints_of(config if isinstance(config, type) else type(config))
    for field in dataclasses.fields(config):
        marks = get_args(hints[field.name])[1:] if get_origin(hints[field.name]) is Annotated else ()
        if any(mark in (tyro.conf.Positional, tyro.conf.Fixed) for mark in marks):
            continue
        hint = get_args(hints[field.name])[0] if marks else hints[field.name]
        value = getattr(config, field.name, None)
        given = [mark.name for mark in marks if getattr(mark, "name", None)]
        name = prefix + (given or [field.name])[0].replace("_", "-")
        if dataclasses.is_dataclass(value):
            found |= options(value, prefix if UNPREFIXED in marks else f"{name}.")
        elif value is not None or not any(map(dataclasses.is_dataclass, get_args(hint))):  # a part that it lacks
            aliases = [alias for mark in marks for alias in getattr(mark, "aliases", None) or ()]
            found |= dict.fromkeys([name, *aliases, *([_no(name)] if hint is bool else [])], hint)
    return found


def _parse(kind: type[C], args: list[str], prog: str, default: C | None, add_help: bool = True) -> tuple[C, list[str]]:
    start: Any = {} if default is None else {"default": default}
    with contextlib.redirect_stderr(io.StringIO()):
        found: tuple[C, list[str]] = tyro.cli(
            kind, args=args, prog=prog, config=CONFIG, return_unknown_args=True, add_help=add_help, **start
        )
    return found


def _reason(leaving: BaseException, kind: type[C], args: list[str], prog: str, default: C | None) -> UserError:
    """Return why tyro exited: a setting was refused, an option has a wrong value, or an argument is missing."""
    error: BaseException | None = leaving
    while error := error.__context__ if error else None:
        if isinstance(error, UserError):
            return error
    known = options(default or kind)
    fields = dataclasses.fields(kind) if default is None else ()  # type: ignore[arg-type]
    needed = [field.name for field in fields if field.default is dataclasses.MISSING]
    for flag, values in _given(args):
        if flag.replace("_", "-") not in known:
            return _unexpected([flag, *values], default or kind, prog)
        hint = known[flag.replace("_", "-")]
        if not values and hint is not bool:
            return UserError(f"{flag} needs a value; it must be {described(hint, null='None')}")
        try:
            _parse(kind, [*["."] * len(needed), flag, *values], prog, default)
        except SystemExit:
            if choices := _choices(hint):
                return unknown(f"value of {flag}", values[0], choices)
            return UserError(f"{flag} must be {described(hint, null='None')}, not {' '.join(values)!r}")
    return UserError(f"{prog} needs {' and '.join(map(str.upper, needed))} (`{prog} --help`)")


def _given(args: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield every option before `--`, with the words up to the next."""
    args = args[: args.index("--")] if "--" in args else args
    starts = [i for i, arg in enumerate(args) if arg.startswith("--")]
    for start, end in zip(starts, [*starts[1:], len(args)], strict=False):
        flag, equals, value = args[start].partition("=")
        yield flag, [value] * bool(equals) + args[start + 1 : end]


def _unexpected(words: list[str], config: Any, prog: str) -> UserError:
    """Return the error for the first of the words, which is no option of a command's dataclass."""
    word, *values = words
    if not word.startswith("-"):
        return UserError(f"unexpected {word!r} (`{prog} --help` says what it takes)")
    flag, equals, value = word.partition("=")
    if told := _of_a_kind(flag, [value] * bool(equals) + values, config):
        return told
    known = options(config)
    near = get_close_matches(flag.replace("_", "-"), known, n=2, cutoff=0.5)
    if flag.replace("_", "-") == NO_CACHE and "--set" in known:
        near = ["--set feature_cache=off"]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return UserError(f"unknown option {word!r}{hint} (`{prog} --help` lists all)")


def _of_a_kind(flag: str, values: list[str], config: Any) -> UserError | None:
    """Return the error for an option that names a kind, or that only another kind has: `--learner.adapt.kind lora`."""
    place, names = getattr(config, "settings", config), flag.removeprefix("--").replace("-", "_").split(".")
    family, walked = Spec, list[str]()
    while names and names[0] in getattr(place, "__dataclass_fields__", ()) and not isinstance(place, type):
        family = get_type_hints(type(place))[names[0]]
        place = getattr(place, names[0])
        walked.append(names.pop(0))
    if not isinstance(place, Spec) or not (isinstance(family, type) and issubclass(family, Spec)):
        return None
    kind = "KIND"
    if names not in ([], ["kind"]):
        found = place.of_other_kinds(names[0])
    elif values and values[0] not in family.kinds():
        found = family.unknown_kind(values[0])
    else:
        kind = values[0] if values else kind
        found = UserError(f"a kind is no option; kinds are {', '.join(sorted(family.kinds()))}")
    if found is None:
        return None
    in_file = "".join(f"{name}: {{" for name in walked) + f"kind: {kind}" + "}" * len(walked)
    remedy = f", or write {in_file} in a file for --config" if len(walked) > 1 else ""
    return UserError(f"{flag}: {found}; give a --method that has it (softtf list methods){remedy}")


def _choices(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [choice for choice in get_args(hint) if isinstance(choice, str)]
    return [choice for part in get_args(hint) if get_origin(part) is Literal for choice in _choices(part)]


def _no(flag: str) -> str:
    """Return the option that turns a switch off, as tyro spells it: --train.no-augment."""
    place, dot, name = flag.removeprefix("--").rpartition(".")
    return f"--{place}{dot}no-{name}"


def _all_seen(plain: Any) -> bool:
    """Return whether all texts in a tree of settings are printable as they are."""
    if dataclasses.is_dataclass(plain):
        return all(_all_seen(getattr(plain, field.name)) for field in dataclasses.fields(plain))
    if isinstance(plain, list | tuple):
        return all(map(_all_seen, plain))
    return not isinstance(plain, str) or visible(plain) == plain
