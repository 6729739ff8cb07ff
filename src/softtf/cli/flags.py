"""Config trees from the command line: tyro, with errors of one line."""

import contextlib
import dataclasses
import io
import os
from difflib import get_close_matches
from typing import Any, TypeVar, get_args, get_type_hints
from unittest import mock

import tyro

from softtf.config.tree import to_dict
from softtf.errors import UserError, visible
from softtf.screen import say

C = TypeVar("C")
CONFIG = (tyro.conf.AvoidSubcommands, tyro.conf.SuppressFixed, tyro.conf.HelptextFromCommentsOff)


def parse(default: C, args: list[str], prog: str, description: str, others: tuple[str, ...] = ()) -> C:
    """Return `default` with the changes that `args` ask for; `--help` prints and exits.

    `others` are options that were taken out of `args` before, for the nearest names.

    Raises:
        UserError: one line, for anything that cannot be understood.
    """
    kind: Any = type(default)
    box = io.StringIO()
    if {"-h", "--help"} & set(args):
        # tyro prints values as they are: those of a file that somebody else wrote lose its colours.
        aside = contextlib.nullcontext() if _all_seen(to_dict(default)) else contextlib.redirect_stdout(box)
        with aside, contextlib.suppress(SystemExit):
            tyro.cli(kind, default=default, args=["--help"], prog=prog, description=description, config=CONFIG)
        say(box.getvalue().rstrip())
        raise SystemExit(0)
    # tyro folds its error box to the terminal's width, in the middle of long words
    with mock.patch.dict(os.environ, {"COLUMNS": "100000"}), contextlib.redirect_stderr(box):
        try:
            config, rest = tyro.cli(
                kind,
                default=default,
                args=args,
                prog=prog,
                description=description,
                return_unknown_args=True,
                config=CONFIG,
            )
        except SystemExit:
            raise UserError(_first_line(box.getvalue())) from None
    if rest:
        near = get_close_matches(rest[0].replace("_", "-"), [*others, *flags(default)], n=2, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"unknown option {rest[0]!r}{hint} (`{prog} --help` lists all)")
    result: C = config
    return result


def _all_seen(plain: Any) -> bool:
    """Say whether all texts in plain data are shown as they are."""
    if isinstance(plain, dict | list):
        return all(map(_all_seen, plain.values() if isinstance(plain, dict) else plain))
    return not isinstance(plain, str) or visible(plain) == plain


def _first_line(box: str) -> str:
    """Return the message below the title of tyro's error box, whose frame may be of Unicode, of ASCII or absent."""
    for line in box.strip().splitlines()[1:]:
        text = line.strip().strip("│|").strip()
        if text.strip("─-+╰╯ "):
            return text
    return "the options cannot be understood"


def flags(config: Any, prefix: str = "--") -> list[str]:
    """Return every option of a tree of dataclasses, as tyro spells it."""
    names: list[str] = []
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        if field.name in ("recipe", "method"):
            continue  # not options: the command takes them by other means
        value, name = getattr(config, field.name), field.name.replace("_", "-")
        if value is None and any(map(dataclasses.is_dataclass, get_args(hints[field.name]))):
            continue  # a part that this method lacks
        if dataclasses.is_dataclass(value):
            names += flags(value, f"{prefix}{name}.")
        else:
            names += [prefix + name] + [f"{prefix}no-{name}"] * isinstance(value, bool)
    return names
