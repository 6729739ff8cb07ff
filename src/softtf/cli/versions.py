"""`softtf learner versions|restore|prune`: the earlier versions of a learner that are in its folder."""

import json
from collections.abc import Callable
from dataclasses import asdict

from softtf.cli.options import Learner
from softtf.errors import UserError
from softtf.learners.accounts import shown_bytes
from softtf.saving import list_versions, prune_versions, restore_version
from softtf.saying import say


def _versions(options: Learner) -> int:
    found = list_versions(options.folder)
    if options.json:
        say(json.dumps([asdict(version) for version in found], indent=2))
        return 0
    for version in found:
        name = "now" if version.number is None else str(version.number)
        known = f"{len(version.tasks)} tasks, {version.classes} classes"
        own = f"{shown_bytes(version.own_bytes)} of its own"
        say(f"{name}: saved {version.saved}, {known}, {own}, {version.identity[:12]}")
    return 0


def _restore(options: Learner) -> int:
    (number,) = _number(options) or (None,)
    if number is None:
        raise UserError(f"softtf learner restore {options.folder} needs a number; softtf learner versions lists them")
    restore_version(options.folder, number)
    say(f"{options.folder}: version {number} is the one of now; the one before it is kept")
    return 0


def _prune(options: Learner) -> int:
    (keep,) = _number(options) or (0,)
    gone = prune_versions(options.folder, keep)
    say(f"{options.folder}: {gone} earlier versions removed")
    return 0


OF_VERSIONS: dict[str, Callable[[Learner], int]] = {"versions": _versions, "restore": _restore, "prune": _prune}


def _number(options: Learner) -> tuple[int, ...]:
    """Return the number, if one is given; raises UserError for other words."""
    if len(options.names) > 1 or not all(name.isdecimal() for name in options.names):
        raise UserError(f"softtf learner {options.action} {options.folder} takes a number; leave out the rest")
    return tuple(map(int, options.names))
