"""Tests mirror the package: a file has the name of a module or a package, or its first line states what holds."""

import ast
from pathlib import Path

import softtf

TESTS, PACKAGE = Path(__file__).parent, Path(softtf.__path__[0])
OTHERWISE = {"class_statistics": "statistics"}  # a folder `statistics` would hide Python's own module


def is_mirrored(test: Path) -> bool:
    """Whether softtf has a module or a package of a test file's place and name."""
    folder, *rest = test.relative_to(TESTS).with_name(test.stem.removeprefix("test_")).parts
    module = PACKAGE.joinpath(OTHERWISE.get(folder, folder), *rest)
    return module.is_dir() or module.with_suffix(".py").exists()


def test_a_file_is_named_for_what_it_tests_or_says_what_holds() -> None:
    files = sorted(TESTS.rglob("test_*.py"))
    mirrored = [file for file in files if is_mirrored(file)]
    assert len(mirrored) > len(files) / 2
    silent = [f for f in files if f not in mirrored and not ast.get_docstring(ast.parse(f.read_text("utf-8")))]
    assert [str(file.relative_to(TESTS)) for file in silent] == []
