"""The settings of every method in every kind of recipe, as `softtf run RECIPE --method M` takes them."""

import json
from collections.abc import Mapping

from softtf.cli import run
from softtf.config.dotted import flat
from softtf.config.tree import to_dict

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
    return {name: json.dumps(value) for name, value in flat(to_dict(run.settings([*args]).settings)).items()}
