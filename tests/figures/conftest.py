"""Finished runs of two tasks, of several methods and seeds; no test changes them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import LAYERS, TINY, call

MASKS = {"dual-prompt+wsn": ("--learner.adapt.keep", "80"), "dual-prompt+softnet": ("--learner.adapt.keep", "50")}
Make = Callable[..., Path]
Renamed = Callable[[Path, str], Path]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes a run, once for all tests that ask for the same one."""
    done: dict[tuple[str, ...], Path] = {}

    def make(method: str = "dual-prompt+soft-tf", *options: object) -> Path:
        key = (method, *map(str, options))
        if key not in done:
            done[key] = tmp_path_factory.mktemp("run") / method.replace("+", "-")
            masked = "+" in method
            plain = [*TINY[: TINY.index(LAYERS[0])], *TINY[TINY.index(LAYERS[-1]) + 1 :]]
            own = ("--learner.e-layers", "4-6") if method == "dual-prompt" else ()
            args = (*(TINY if masked else (*plain, *own)), "--method", method, *MASKS.get(method, ()), *options)
            assert call(*args, "--output", done[key]) == 0
        return done[key]

    return make


@pytest.fixture
def renamed(tmp_path: Path) -> Renamed:
    """Copies a run as one of another stream."""

    def copy(run: Path, recipe: str) -> Path:
        target = tmp_path / f"{run.name}-{recipe}"
        shutil.copytree(run, target)
        config = target / "config.yaml"
        config.write_text(config.read_text().replace("recipe: quickstart", f"recipe: {recipe}"))
        return target

    return copy
