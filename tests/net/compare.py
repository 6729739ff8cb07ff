"""What differs between what was written down and what is found now."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

SHARE, LEAST = 0.1, 2
"""Elsewhere so many of a policy's right answers, or of its right tasks, may differ: this share, or this number."""
APART = 0.03  # so much a probability may
HERE = {"sha256", "values", "tasks", "scores"}
"""What is compared only where it was written down; names, types and shapes, parameters and settings always."""


def differences(stored: Mapping[str, Any], found: Mapping[str, Any], same_machine: bool) -> dict[str, list[str]]:
    """Return the differences of every case or preset that has any, by its name, a line each."""
    told: dict[str, list[str]] = {}
    for name in dict.fromkeys([*stored, *found]):
        if name not in stored:
            told[name] = ["is new: nothing is written down of it"]
        elif name not in found:
            told[name] = ["is gone"]
        elif lines := list(_different(stored[name], found[name], same_machine, "")):
            told[name] = lines
    return told


def _different(stored: Any, found: Any, same_machine: bool, where: str) -> Iterator[str]:
    if not (isinstance(stored, Mapping) and isinstance(found, Mapping)):
        if stored != found and (same_machine or not _near(stored, found)):
            yield f"{where}: {stored} was written down, {found} found"
        return
    if "layout" in stored and "layout" in found:
        if said := _tensors(stored, found, same_machine):
            yield f"{where}: {said}"
        return
    for key in dict.fromkeys([*stored, *found]):
        place = f"{where} {key}".strip()
        if key not in stored or key not in found:
            yield f"{place}: is {'new' if key in found else 'gone'}"
        elif same_machine or key not in HERE:
            yield from _different(stored[key], found[key], same_machine, place)


def _tensors(stored: Mapping[str, Any], found: Mapping[str, Any], same_machine: bool) -> str:
    """Say what became of a learner's tensors; nothing if nothing did."""
    named, numbers = stored["layout"] == found["layout"], stored["values"] == found["values"]
    if named and (numbers or not same_machine):
        return ""
    if not same_machine:
        return f"names, types or shapes of tensors changed ({stored['count']} then, {found['count']} now)"
    if numbers:
        return "tensors were renamed, no number changed"
    if named:
        return "numbers of tensors changed, their names did not"
    return f"names and numbers of tensors changed ({stored['count']} then, {found['count']} now)"


def _near(stored: Any, found: Any) -> bool:
    """Say whether two texts of counts, or lists of texts of probabilities, differ by as little as machines may."""
    if isinstance(stored, list) and isinstance(found, list) and len(stored) == len(found):
        rows = [[list(map(float, text.split())) for text in pair] for pair in zip(stored, found, strict=True)]
        return all(len(a) == len(b) and all(abs(x - y) <= APART for x, y in zip(a, b, strict=True)) for a, b in rows)
    if not all(isinstance(text, str) and "; tasks " in text for text in (stored, found)):
        return False
    if re.sub(r"\d+", "", stored) != re.sub(r"\d+", "", found):
        return False
    for parts in zip(stored.split("; tasks "), found.split("; tasks "), strict=True):
        one, other = ([int(number) for number in re.findall(r"\d+", part)] for part in parts)
        if sum(abs(a - b) for a, b in zip(one, other, strict=True)) > max(LEAST, SHARE * sum(one)):
            return False
    return True
