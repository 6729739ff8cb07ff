"""Scanners from outside: bandit finds nothing in our code, picklescan no pickle in what we write."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from picklescan.scanner import ScanResult, scan_file_path

from cli import TINY, call
from softtf.learners import BiC
from support.folders import SOFT_TF
from support.tiny import classifier

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_bandit_finds_nothing(tmp_path: Path) -> None:
    """What it is told to pass over stands, with a reason, in pyproject.toml or beside the line."""
    bandit = [sys.executable, "-m", "bandit", "-q", "-r", "-c", str(ROOT / "pyproject.toml")]
    done = subprocess.run([*bandit, str(ROOT / "src")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    (tmp_path / "bad.py").write_text("import yaml\nyaml.load(open('x'), Loader=yaml.Loader)\n")
    assert subprocess.run([*bandit, str(tmp_path)], capture_output=True).returncode == 1


def scan(folder: Path) -> ScanResult:
    """Every file, whatever its name."""
    found = ScanResult([])
    for file in (p for p in folder.rglob("*") if p.is_file()):
        found.merge(scan_file_path(str(file)))
    return found


def test_picklescan_finds_no_pickle_in_what_we_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTTF_CACHE", str(tmp_path / "features"))
    assert call(*TINY, "--track", "tensorboard", "--output", tmp_path / "run") == 0
    assert call("evaluate", tmp_path / "run", "--policy", "oracle") == 0
    classifier(SOFT_TF, 2).save_pretrained(tmp_path / "masks")
    classifier(BiC(exemplars=20, feature_id=24), 2, feature_cache=tmp_path / "own").save_pretrained(
        tmp_path / "exemplars"
    )
    found = scan(tmp_path)
    assert found.scanned_files > 30 and list((tmp_path / "features").iterdir())
    assert not found.globals and not found.infected_files and not found.scan_err


def test_picklescan_finds_one_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "task-001.safetensors").write_bytes(pickle.dumps(os.system))
    assert scan(tmp_path).infected_files == 1
