"""The examples of docs/extend, from outside the package: short, lawful, and known to every command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import softtf as package

EXTEND = Path(__file__).parents[1] / "docs" / "extend"
LONGEST = {path.stem: 40 for path in EXTEND.glob("my_*.py")} | {"my_method": 20, "my_inference": 25}
SOURCES = str(Path(package.__file__).parents[1])
YAML = """
method: scaled
stream: {source: rows, num_tasks: 2}
learner: {kind: dual-prompt, e_layers: 10-12, gather: [task-mean], adapt: {kind: scaling, layers: 10-12}}
train: {epochs: 1}
evaluate: {policies: [task-mean, gradient-id]}
"""


def softtf(cwd: Path, *args: str, files: tuple[str, ...] = (), code: int = 0) -> str:
    """What the command says, in a process of its own in another folder."""
    imports = [part for name in files for part in ("--import", str(EXTEND / f"{name}.py"))]
    command = [sys.executable, "-m", "softtf", *args, *imports]
    done = process(cwd, *command)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def process(cwd: Path, *command: str, path: str = SOURCES) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"SOFTTF_CACHE": str(cwd / "cache"), "COLUMNS": "200", "PYTHONPATH": path}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", LONGEST)
def test_an_example_is_short(name: str) -> None:
    lines = [line for line in (EXTEND / f"{name}.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= LONGEST[name]


@pytest.mark.slow
def test_every_example_keeps_the_laws(tmp_path: Path) -> None:
    done = process(tmp_path, sys.executable, str(EXTEND / "check.py"))
    assert done.returncode == 0 and "all laws hold" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_method_runs_by_its_kind_on_an_own_source_and_backbone_with_an_own_metric(tmp_path: Path) -> None:
    files = ("my_method", "my_source", "my_backbone", "my_metric")
    options = ("--method", "class-means", "--stream.source", "rows", "--stream.num-tasks", "4", "--output", "run")
    said = softtf(tmp_path, "run", "quickstart", *options, "--backbone.name", "small", files=files)
    assert "Class means" in said and "Plasticity" in said
    assert "Class means" in softtf(tmp_path, "evaluate", "run", files=files)
    assert "--import FILE" in softtf(tmp_path, "evaluate", "run", code=2)
    assert "Class means" in softtf(tmp_path, "table", "methods", "--dry-run", "--rows", "Class means", files=files[:1])


@pytest.mark.slow
def test_an_adaptation_and_an_inference_run_from_yaml_and_load_again(tmp_path: Path) -> None:
    files = ("my_adaptation", "my_inference", "my_source")
    (tmp_path / "run.yaml").write_text(YAML)
    said = softtf(tmp_path, "run", "--config", "run.yaml", "--output", "run", files=files)
    assert "Nearest task mean" in said and "Gradient ID" in said
    script = "from softtf import ContinualClassifier; ContinualClassifier.from_pretrained('run/learner')"
    alone = process(tmp_path, sys.executable, "-c", script)
    assert "unknown adaptation 'scaling'" in alone.stderr and "import my_file" in alone.stderr
    known = f"import my_adaptation, my_inference; {script}"
    again = process(tmp_path, sys.executable, "-c", known, path=f"{SOURCES}{os.pathsep}{EXTEND}")
    assert again.returncode == 0, again.stderr
