"""The documentation site: it builds without a warning, and every page is in its navigation."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted(path.name for path in (ROOT / "docs/tutorials").glob("*.py"))


def pages(nav: object) -> set[str]:
    """Return the files that a navigation names."""
    if isinstance(nav, str):
        return {nav}
    parts = nav.values() if isinstance(nav, dict) else nav
    return set().union(*map(pages, parts))  # type: ignore[call-overload]


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml; `!ENV` and the like are not looked at."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def test_every_page_is_in_the_navigation() -> None:
    site = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    docs = ROOT / "docs"
    written = {str(path.relative_to(docs)) for path in docs.rglob("*.md")} | {f"tutorials/{name}" for name in TUTORIALS}
    assert pages(site["nav"]) == written


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed: pip install '.[docs]'")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Without its tutorials' output: test_tutorials.py runs them, without six kernels that each import torch."""
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "SOFTTF_EXECUTE_TUTORIALS": "false"},
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stderr[-3000:]
    assert (tmp_path / "index.html").exists()
    for name in TUTORIALS:
        assert (tmp_path / "tutorials" / name.removesuffix(".py") / "index.html").exists()


def test_a_build_runs_the_tutorials_unless_told_otherwise_and_stops_at_an_error() -> None:
    lines = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").splitlines()
    assert {"      execute: !ENV [SOFTTF_EXECUTE_TUTORIALS, true]", "      allow_errors: false"} <= {*lines}
