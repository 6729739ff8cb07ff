"""Imports point down only: a package, or a module that stands alone, reaches what is below it and nothing else."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import softtf

ROOT = Path(softtf.__file__).parent
FLOORS = (
    ("errors", "seeds"),
    ("saying",),
    ("files", "screen", "devices", "registry"),
    ("tracking",),
    ("config",),
    ("statistics",),
    ("memory",),
    ("streams",),
    ("backbones",),
    ("adaptations",),
    ("network",),
    ("learners",),
    ("inference",),
    ("evaluation",),
    ("training",),
    ("saving",),
    ("export",),
    ("life",),
    ("classifier",),
    ("sklearn",),
    ("testing",),
    ("runs", "recipes"),
    ("sweeps",),
    ("paper",),
    ("figures",),
    ("report",),
    ("serve",),
    ("cli",),
    ("public",),
    ("__main__",),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}


@cache
def direct(module: str) -> frozenset[str]:
    """The softtf modules that a module imports anywhere in its text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in found if name in MODULES and name.startswith("softtf."))


def place(module: str) -> str:
    return module.split(".")[1]


def test_the_reader_of_imports_sees_them() -> None:
    assert "softtf.backbones.base" in direct("softtf.network.adapted")


def test_every_module_has_a_floor_and_few_stand_alone() -> None:
    assert sorted({place(m) for m in MODULES if m != "softtf"}) == sorted(name for names in FLOORS for name in names)
    assert len(list(ROOT.glob("*.py"))) <= 10


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m != "softtf"))
def test_imports_point_down(module: str) -> None:
    wrong = {m for m in direct(module) if FLOOR[place(m)] > FLOOR[place(module)]}
    beside = {m for m in direct(module) if FLOOR[place(m)] == FLOOR[place(module)] and place(m) != place(module)}
    assert not wrong, f"{module} reaches up to {sorted(wrong)}"
    assert not beside or {place(module), *map(place, beside)} <= BESIDE, f"{module} reaches {sorted(beside)}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Nor for types alone: whoever reads one of them would have to read all."""
    tuple(TopologicalSorter({module: direct(module) - {module} for module in MODULES}).static_order())


BESIDE = {"runs", "recipes"}
"""Packages of one floor that know each other."""


def test_the_public_names_are_there() -> None:
    assert all(hasattr(softtf, name) for name in softtf.__all__) and softtf.__all__ == sorted(softtf.__all__)
