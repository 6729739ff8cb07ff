"""The settings of every method in every kind of recipe, as `softtf run RECIPE --method M --help` tells them."""

import contextlib
import io
import os
import re
from collections.abc import Mapping
from unittest import mock

from softtf.cli.main import main

PLACES = {  # a recipe of each kind, and the options by which it becomes smaller
    "cifar100-10": (),
    "cifar100-10 mini": ("--scale", "mini"),
    "imagenet-r-10": (),
    "tiny-imagenet-10": (),
    "own-images": (),
    "quickstart": (),
    "text-order-4": (),
    "text-order-4 mini": ("--scale", "mini"),
    "text-order-4-sampled": (),
    "own-texts": (),
}
FIRST = next(iter(PLACES))
WORDS = ("method", "scale", "config", "output", "source", "backbone", "policy")  # of the command; they are no settings
OPTION = re.compile(r"--([\w.-]+)")


def presets(methods: list[str]) -> dict[str, dict[str, dict[str, str]]]:
    """Return the settings by recipe, method and name; of the other recipes what the first has otherwise.

    A setting that a method lacks there, and has in the first recipe, is `absent`. What all methods have stands once,
    under `all`.
    """
    whole = {
        place: {method: _settings(place.split()[0], "--method", method, *scale) for method in methods}
        for place, scale in PLACES.items()
    }
    found = {place: {m: _otherwise(s, whole[FIRST][m]) for m, s in by.items()} for place, by in whole.items()}
    found[FIRST] = whole[FIRST]
    for by in found.values():
        common = dict(set.intersection(*(set(settings.items()) for settings in by.values())))
        for method, settings in by.items():
            by[method] = dict(sorted(settings.items() - common.items()))
        by["all"] = dict(sorted(common.items()))
    return found


def _otherwise(settings: Mapping[str, str], first: Mapping[str, str]) -> dict[str, str]:
    return dict(settings.items() - first.items()) | dict.fromkeys(first.keys() - settings.keys(), "absent")


def _settings(*args: str) -> dict[str, str]:
    shown = io.StringIO()
    narrow = mock.patch.dict(os.environ, {"COLUMNS": "90"})  # in a wide one there are columns beside one another
    with narrow, contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main(["run", *args, "--help"])
    if not (found := settings_in(shown.getvalue())):
        raise ValueError(f"no settings in what softtf run {' '.join(args)} --help shows; mend net/presets.py")
    return found


def settings_in(shown: str) -> dict[str, str]:
    """Return every option that a help text shows with a default, and that default."""
    texts: dict[str, str] = {}
    name = ""
    for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines():
        line = line.strip(" │|")
        if option := OPTION.match(line):
            name = option[1]
        if name:
            texts[name] = f"{texts.get(name, '')} {line}"
    return {n: _default(text) for n, text in texts.items() if "(default: " in text and n not in WORDS}


def _default(text: str) -> str:
    """Return what stands behind `(default: ` up to the bracket that closes it."""
    value = text.partition("(default: ")[2]
    depth = 1
    for place, letter in enumerate(value):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return " ".join(value[:place].split())
    return value
