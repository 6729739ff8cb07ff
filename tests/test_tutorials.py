"""The tutorials' Python runs, as its notebook does when `mkdocs build` makes the site."""

from pathlib import Path

import pytest

from support.blocks import TUTORIALS
from support.registries import forgetting_modules, forgetting_names


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(tutorial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with forgetting_names(), forgetting_modules():
        exec(compile(tutorial.read_text(encoding="utf-8"), str(tutorial), "exec"), {"__name__": tutorial.stem})
