"""The examples of docs/extend, from outside the package: short, lawful, and known to every command."""

import importlib
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import call
from softtf import ContinualClassifier
from softtf.errors import UserError
from support.registries import forgetting_modules, forgetting_names

EXTEND = Path(__file__).parents[1] / "docs" / "extend"
LONGEST = {path.stem: 40 for path in EXTEND.glob("my_*.py")} | {"my_method": 20, "my_inference": 25}
YAML = """
method: scaled
stream: {source: rows, num_tasks: 2}
learner: {kind: dual-prompt, e_layers: 10-12, gather: [task-mean], adapt: {kind: scaling, layers: 10-12}}
train: {epochs: 1}
evaluate: {policies: [task-mean, gradient-id]}
"""


@pytest.fixture(autouse=True)
def _in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    with forgetting_names(), forgetting_modules():
        yield


def said(capsys: pytest.CaptureFixture[str], *args: str, files: tuple[str, ...] = (), code: int = 0) -> str:
    """What a command says that imports some of the files."""
    imports = [part for name in files for part in ("--import", str(EXTEND / f"{name}.py"))]
    with forgetting_names(), forgetting_modules():
        assert call(*args, *imports) == code
    return "".join(capsys.readouterr())


@pytest.mark.parametrize("name", LONGEST)
def test_an_example_is_short(name: str) -> None:
    lines = [line for line in (EXTEND / f"{name}.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= LONGEST[name]


@pytest.mark.slow
def test_every_example_keeps_the_laws(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(EXTEND)
    runpy.run_path(str(EXTEND / "check.py"))
    assert "all laws hold" in capsys.readouterr().out


@pytest.mark.slow
def test_a_method_runs_by_its_kind_on_an_own_source_and_backbone_with_an_own_metric(
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = ("my_method", "my_source", "my_backbone", "my_metric")
    options = ("--method", "class-means", "--stream.source", "rows", "--stream.num-tasks", "4", "--output", "run")
    told = said(capsys, "run", "quickstart", *options, "--backbone.name", "small", files=files)
    assert "Class means" in told and "Plasticity" in told
    assert "Class means" in said(capsys, "evaluate", "run", files=files)
    assert "--import FILE" in said(capsys, "evaluate", "run", code=2)
    assert "Class means" in said(capsys, "table", "methods", "--dry-run", "--rows", "Class means", files=files[:1])


@pytest.mark.slow
def test_an_adaptation_and_an_inference_run_from_yaml_and_load_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("my_adaptation", "my_inference", "my_source")
    Path("run.yaml").write_text(YAML)
    told = said(capsys, "run", "--config", "run.yaml", "--output", "run", files=files)
    assert "Nearest task mean" in told and "Gradient ID" in told
    with pytest.raises(UserError, match=r"unknown adaptation 'scaling'.*import my_file"):
        ContinualClassifier.from_pretrained("run/learner")
    monkeypatch.syspath_prepend(EXTEND)
    for name in files[:2]:
        importlib.import_module(name)
    assert ContinualClassifier.from_pretrained("run/learner").num_tasks == 2
