"""Docstrings of Python's standard library, which needs no download, labelled by module. No module is run."""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from softtf.errors import UserError
from softtf.streams.examples import Examples
from softtf.streams.holdout import hold_out

MODULES = (
    *("asyncio", "email", "http", "ipaddress", "logging"),
    *("multiprocessing", "tarfile", "unittest", "urllib", "xml"),
)
SHORTEST = 60  # characters; shorter ones say little


def docstrings() -> tuple[Examples, Examples | None]:
    """Return docstrings of functions and classes of ten modules, with a fifth of each held out for testing.

    They depend on the version of Python.

    Raises:
        UserError: this Python has no sources of its library.
    """
    rows: dict[str, str] = {}
    for module in MODULES:
        for file in _sources(module):
            rows |= {text: module for text in _docstrings(file) if text not in rows}
    if missing := set(MODULES).difference(rows.values()):
        raise UserError(f"this Python has no source of its module {min(missing)}, whose docstrings are needed")
    return hold_out(Examples(list(rows), rows.values(), "docstrings"))


def _sources(module: str) -> list[Path]:
    spec = find_spec(module)
    origin = Path(spec.origin) if spec and spec.origin else Path()
    if origin.name != "__init__.py":
        return [origin] if origin.suffix == ".py" else []
    return [file for file in sorted(origin.parent.rglob("*.py")) if "test" not in file.parts]


@cache
def _docstrings(file: Path) -> tuple[str, ...]:
    """Return the long docstrings of a file, which is parsed once: a comparison reads the data for each method."""
    nodes = ast.walk(ast.parse(file.read_bytes()))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    texts = [ast.get_docstring(node) for node in nodes if isinstance(node, kinds)]
    return tuple(text for text in texts if text and len(text) >= SHORTEST)
