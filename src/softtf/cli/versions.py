"""`softtf learner versions|restore|prune`: the earlier versions of a learner that are in its folder."""

import json
from collections.abc import Callable
from dataclasses import asdict

from softtf.cli.options import Learner
from softtf.errors import UserError
from softtf.learners.accounts import shown_bytes
from softtf.saving import list_versions, prune_versions, restore_version
from softtf.screen import say


def _versions(options: Learner) -> int:
    _check(options, 0)
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
    (number,) = _check(options, 1) or (None,)
    if number is None:
        raise UserError(f"softtf learner restore {options.folder} needs a number; softtf learner versions lists them")
    restore_version(options.folder, number)
    say(f"{options.folder}: version {number} is the one of now; the one before it is kept")
    return 0


def _prune(options: Learner) -> int:
    (keep,) = _check(options, 1) or (0,)
    gone = prune_versions(options.folder, keep)
    say(f"{options.folder}: {gone} earlier versions removed")
    return 0


OF_VERSIONS: dict[str, Callable[[Learner], int]] = {"versions": _versions, "restore": _restore, "prune": _prune}


def _check(options: Learner, most: int) -> tuple[int, ...]:
    """Return the numbers that are given, at most `most`; raises UserError for what these actions do not read."""
    unread = (options.output, options.in_place, options.leave_traces, options.tasks, options.keep_versions)
    if any(unread) or len(options.names) > most or not all(name.isdecimal() for name in options.names):
        reads = "a number" if most else "the folder alone"
        raise UserError(f"softtf learner {options.action} {options.folder} takes {reads}; leave out the rest")
    return tuple(map(int, options.names))
