"""Imports point to the left only: streams < backbones < adaptations < learners < inference < evaluation < the rest."""

import ast
from functools import cache
from pathlib import Path

import pytest

import softtf

ROOT = Path(softtf.__file__).parent
ORDER = ("streams", "backbones", "adaptations", "learners", "inference", "evaluation")
LEAVES = (
    "errors",
    "seeds",
    "store",
    "temporary",
    "manifest",
    "versions",
    "reading",
    "lock",
    "shortage",
    "config",
    "strict_yaml",
    "machine",
    "plain_json",
    "reading",
    "screen",
    "packing",
    "slots",
    "memory",
    "statistics",
    "torch_state",
)  # below all packages
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}


@cache
def direct(module: str) -> frozenset[str]:
    """The softtf modules that a module imports anywhere in its text, each with the packages that hold it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    found = {name for name in found if name.split(".")[0] == "softtf"}
    holders = {name.rsplit(".", i)[0] for name in found for i in range(1, name.count(".") + 1)}
    return frozenset(name for name in found | holders if name in MODULES and name != "softtf")


@cache
def reachable(module: str) -> frozenset[str]:
    """Everything that importing a module imports of softtf, itself included."""
    seen, waiting = {module}, [module]
    while waiting:
        for name in direct(waiting.pop()) - seen:
            seen.add(name)
            waiting.append(name)
    return frozenset(seen)


def place(module: str) -> str:
    return module.split(".")[1]


def test_the_reader_of_imports_sees_them() -> None:
    assert "softtf.backbones.base" in direct("softtf.network")
    assert "softtf.streams.loader" in reachable("softtf.classifier")
    assert set(ORDER) < {place(m) for m in MODULES if m != "softtf"}


@pytest.mark.parametrize("package", ORDER)
def test_no_package_reaches_one_to_its_right(package: str) -> None:
    ours = [m for m in MODULES if m != "softtf" and place(m) == package]
    allowed = ORDER[: ORDER.index(package) + 1]
    # The whole of what learners need to run (network, shared_pass) may stand outside the packages, and is followed.
    for module in ours:
        wrong = {m for m in reachable(module) if place(m) in ORDER and place(m) not in allowed}
        assert not wrong, f"{module} reaches {sorted(wrong)}"


@pytest.mark.parametrize("package", ORDER)
def test_no_package_reaches_what_puts_the_packages_together(package: str) -> None:
    outer = {"classifier", "run", "recipes", "cli", "commands", "feeding", "saving", "progress", "runconfig"}
    for module in (m for m in MODULES if m != "softtf" and place(m) == package):
        wrong = {m for m in reachable(module) if place(m) in outer}
        assert not wrong, f"{module} reaches {sorted(wrong)}"


@pytest.mark.parametrize("leaf", LEAVES)
def test_helpers_reach_no_package(leaf: str) -> None:
    assert {place(m) for m in reachable(f"softtf.{leaf}")} <= set(LEAVES)


def test_the_public_names_are_there() -> None:
    assert all(hasattr(softtf, name) for name in softtf.__all__) and softtf.__all__ == sorted(softtf.__all__)
