"""A damaged run goes on to the same results or is refused in one line; so is a finished run that is scored again."""

import io
import shutil
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from cli import TINY, call, read_json, results
from softtf.learners.dual_prompt import DualPromptLearner
from support.damage import Damage, damages, trials
from support.guards import bounded

pytestmark = pytest.mark.slow

STEPS = 3  # an epoch
RUN = (*TINY, "--train.epochs", "2", "--train.batch-size", "10")
STOP = 3 * STEPS + 2  # in the second task's second epoch


@dataclass(frozen=True)
class Runs:
    """Folders of a run that was stopped, or has ended, and of another one in the same state; and what comes of each."""

    folder: Path
    other: Path
    expected: list[dict[str, Any]] = field(repr=False)


def stopped(path: Path, seed: int) -> Path:
    """A run that Ctrl-C stopped in its second task, with a checkpoint."""
    true, calls = DualPromptLearner.loss, iter(range(1, 10**6))

    def loss(self: DualPromptLearner, batch: Any) -> Any:
        if next(calls) == STOP:
            raise KeyboardInterrupt
        return true(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DualPromptLearner, "loss", loss)
        assert call(*RUN, "--seed", seed, "--output", path) == 130
    assert (path / "checkpoint.safetensors").exists() and (path / "learner/task-001.json").exists()
    return path


def rescored(path: Path) -> dict[str, Any]:
    """What was scored again, but for seconds."""
    found = {p.name: read_json(p) for p in sorted(path.glob("rescored/*.json"))}
    return {f"{name}: {key}": content[key] for name, content in found.items() for key in ("accuracy", "counts")}


@pytest.fixture(scope="module")
def going(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    place = tmp_path_factory.mktemp("going")
    return runs([stopped(place / str(seed), seed) for seed in (0, 1)], results, "resume")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    place = tmp_path_factory.mktemp("finished")
    for seed in (0, 1):
        assert call(*TINY, "--seed", seed, "--output", place / str(seed)) == 0
    return runs([place / "0", place / "1"], rescored, "evaluate", "--policy", "oracle")


def runs(folders: list[Path], found: Callable[[Path], dict[str, Any]], *command: str) -> Runs:
    expected = []
    for folder in folders:
        whole = shutil.copytree(folder, folder.with_name(f"{folder.name} whole"))
        assert call(command[0], whole, *command[1:]) == 0
        expected.append(found(whole))
    return Runs(folders[0], folders[1], expected)


def check(runs: Runs, damage: Damage, found: Callable[[Path], dict[str, Any]], *command: str) -> None:
    """Damage a copy and run a command on it: it ends as without the damage, or with one line."""
    with tempfile.TemporaryDirectory() as place:
        folder = shutil.copytree(runs.folder, Path(place) / "run")
        damage(folder, runs.other)
        output, errors = io.StringIO(), io.StringIO()
        with bounded(), redirect_stdout(output), redirect_stderr(errors):
            code = call(command[0], folder, *command[1:])
        if code:
            assert code == 2
            line = errors.getvalue()
            assert line.startswith("softtf: error: ") and line.count("\n") == 1 and line[:-1].isprintable()
        else:
            assert not errors.getvalue()
            # A stray file may lie beside; and where all that matters was exchanged, this is the other run.
            assert any(found(folder).items() >= expected.items() for expected in runs.expected)


@trials(90)
@given(damages())
def test_a_damaged_run_goes_on_to_the_same_results_or_is_refused(going: Runs, damage: Damage) -> None:
    check(going, damage, results, "resume")


@trials(40)
@given(damages())
def test_a_damaged_run_is_scored_as_before_or_refused(finished: Runs, damage: Damage) -> None:
    check(finished, damage, rescored, "evaluate", "--policy", "oracle")
