"""`softtf list`: what can be named.

Learners, adaptations and task inferences are read from the text of their modules: to import these loads torch.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from softtf.cli.options import List
from softtf.errors import unknown
from softtf.paper import TABLES
from softtf.recipes.methods import METHODS
from softtf.recipes.presets import BUNDLED, MINILM, RECIPES
from softtf.screen import say
from softtf.streams.registry import STREAMS

PACKAGES = Path(__file__).parents[1]
OFFLINE = {BUNDLED: "bundled, works offline", MINILM: "texts; works offline, needs softtf[text]"}
LISTS: dict[str, Callable[[], dict[str, str]]] = {
    "recipes": lambda: {name: recipe.description for name, recipe in RECIPES.items()},
    "methods": lambda: {name: method.title for name, method in METHODS.items()},
    "backbones": lambda: _backbones(),
    "adaptations": lambda: _kinds("adaptations"),
    "learners": lambda: _kinds("learners"),
    "streams": lambda: {name: info.description for name, info in STREAMS.items()},
    "tables": lambda: {name: make().caption for name, make in TABLES.items()},
    "policies": lambda: {
        **_inferences(),
        "NAME:batch24": "evidence pooled over batches of 24 of one task's test set (the paper's m-batch)",
        "NAME:vote24": "each of 24 votes for its own best task, the majority answers (the paper's Prompt ID)",
        "NAME:3-shot": "the first 3 of each batch of 24 are the evidence (the paper's n-shot; 3-shot/16 for 16)",
        "NAME:...:own": "answer with a class of the inferred task; otherwise with any class seen so far",
        "NAME:...:joint": "P(c|x) = P(t|x) P(c|x,t) over the likely tasks; feature-id and mcg only",
        "oracle": "the task is given",
    },
}


def run(options: List) -> int:
    """Print the lists that are asked for, or all."""
    for name in options.names:
        if name not in LISTS:
            raise unknown("list", name, LISTS)
    for name in options.names or LISTS:
        shortened = name == "backbones" and not options.names
        entries = {**OFFLINE, "...": "hundreds more: softtf list backbones"} if shortened else LISTS[name]()
        say(f"{name}:")
        width = max(map(len, entries))
        for entry, text in entries.items():
            say(f"  {entry:<{width}}  {text}".rstrip())
    return 0


def _backbones() -> dict[str, str]:
    from softtf.backbones.load import backbone_names

    return {name: OFFLINE.get(name, "") for name in backbone_names()}


def _kinds(package: str) -> dict[str, str]:
    """Return the kinds that a package's classes register, with the first line of what their docstring says."""
    return {
        ast.literal_eval(word.value): (ast.get_docstring(node) or "").partition("\n")[0]
        for node in _classes(package)
        for word in node.keywords
        if word.arg == "kind"
    }


def _inferences() -> dict[str, str]:
    """Return the task inferences, with the setting of the learner that each needs, if any."""
    found = {}
    for node in _classes("inference"):
        own = dict(_constants(node))
        if {"name", "title"} <= own.keys():
            needed = "; needs --learner.{} {} when the run learns".format(*own["setting"]) if "setting" in own else ""
            found[own["name"]] = f"{own['title']}, per-sample{needed.replace('_', '-')}"
    return found


def _classes(package: str) -> Iterator[ast.ClassDef]:
    for file in sorted((PACKAGES / package).glob("*.py")):
        yield from (node for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, ast.ClassDef))


def _constants(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    for line in node.body:
        if isinstance(line, ast.Assign) and isinstance(name := line.targets[0], ast.Name):
            yield name.id, ast.literal_eval(line.value)
