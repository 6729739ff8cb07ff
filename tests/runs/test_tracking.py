"""A run and its trackers: every number of the log arrives, and a tracker that fails costs nothing."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from PIL.Image import Image

from cli import TINY, call, output, refused, results, unfinish
from softtf.config.tree import from_dict, to_dict
from softtf.runs.config import RunConfig
from softtf.tracking import TrackedRun, Tracker, tracker
from support.registries import forgetting_names

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Notebook(Tracker):
    """Keeps all that it is told."""

    opened: list["Notebook"] = []
    fails = False

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        self.told: list[tuple[Mapping[str, float], int]] = []
        self.pictures: list[tuple[str, int]] = []
        self.closed = False
        self.opened.append(self)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        if self.fails:
            raise ConnectionError("the server is gone")
        self.told.append((values, step))

    def picture(self, name: str, image: Image, step: int) -> None:
        self.pictures.append((name, step))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Notebook]]:
    monkeypatch.setattr(Notebook, "opened", [])
    with forgetting_names():
        yield tracker("notebook", "in memory")(Notebook)  # type: ignore[misc]


def logged(path: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(path, "events.jsonl").read_text().splitlines()]


def numbers(tree: object) -> list[float]:
    if isinstance(tree, dict):
        return [number for part in tree.values() for number in numbers(part)]
    return [float(tree)] if isinstance(tree, int | float) else []


@pytest.mark.slow
def test_every_number_of_the_log_and_every_matrix_arrive(notebook: type[Notebook]) -> None:
    assert call(*TINY, "--train.epochs", 2, "--track", "notebook", "--output", "run") == 0
    (told,) = notebook.opened
    assert told.closed and told.run.settings["train.epochs"] == 2
    assert [list(values.values()) for values, _ in told.told] == [numbers(line) for line in logged("run")]
    losses = [(step, values["epoch/losses/matching"]) for values, step in told.told if "epoch/epoch" in values]
    assert [step for step, _ in losses] == [1, 2, 3, 4]  # of the whole run
    assert ("matrix/oracle", 1) in told.pictures and ("matrix/prompt-id", 2) in told.pictures


@pytest.mark.slow
def test_a_tracker_changes_no_result_and_a_run_that_goes_on_is_one_to_it(notebook: type[Notebook]) -> None:
    assert call(*TINY, "--output", "alone") == 0
    assert call(*TINY, "--track", "notebook", "--output", "run") == 0
    assert results(Path("run")) == results(Path("alone")) and not Path("alone/tracking.json").exists()
    unfinish(Path("run"))
    Path("run/accuracy/after-002.json").unlink()
    assert call("resume", "run") == 0
    first, second = notebook.opened
    assert first.run.id == second.run.id and [step for _, step in second.told] == [2]


def test_a_tracker_that_fails_is_noted_once_and_the_run_goes_on(notebook: type[Notebook], capsys: Capture) -> None:
    notebook.fails = True
    try:
        said = output(capsys, *TINY, "--track", "notebook", "--output", "run")
    finally:
        notebook.fails = False
    assert said.count("--track notebook failed and gets nothing more: ConnectionError: the server is gone") == 1
    assert Path("run/summary.json").exists()


def test_an_unknown_tracker_leaves_no_folder(capsys: Capture) -> None:
    said = refused(capsys, *TINY, "--track", "tensorbord", "--output", "run")
    assert "unknown tracker 'tensorbord'; did you mean 'tensorboard'?" in said
    assert not Path("run").exists()


def test_trackers_are_listed(capsys: Capture) -> None:
    said = output(capsys, "list", "trackers")
    assert [line.split()[0] for line in said.splitlines()[1:]] == ["mlflow", "tensorboard", "trackio", "wandb"]


@pytest.mark.parametrize(("earlier", "now"), [(True, ("tensorboard",)), (False, ())])
def test_settings_of_earlier_versions_are_read(earlier: bool, now: tuple[str, ...]) -> None:
    tree = to_dict(RunConfig())
    del tree["track"]
    assert from_dict(RunConfig, tree | {"tensorboard": earlier}).track == now
