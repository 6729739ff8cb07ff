"""What the classes of a package declare, read from its text: to import them would load torch."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = Path(__file__).parents[1]


@cache
def declared(package: str) -> tuple[Mapping[str, Any], ...]:
    """Return the plain class attributes of each class, the keywords of its `class` line and the docstring's first line.

    Args:
        package: of softtf, such as "learners".

    Returns:
        a mapping for each class, in the order of files and lines; the docstring's line is its `about`.
    """
    files = sorted((PACKAGES / package).glob("*.py"))
    classes = (node for file in files for node in ast.parse(file.read_text("utf-8")).body)
    return tuple(_declared(node) for node in classes if isinstance(node, ast.ClassDef))


def _declared(node: ast.ClassDef) -> dict[str, Any]:
    about = (ast.get_docstring(node) or "").partition("\n")[0]
    return {"about": about, **dict(_constants(node))}


def _constants(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    for word in node.keywords:
        if word.arg and isinstance(word.value, ast.Constant):
            yield word.arg, word.value.value
    for line in node.body:
        if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant):
            yield from ((name.id, line.value.value) for name in line.targets if isinstance(name, ast.Name))
