"""What each tracker is told arrives there: TensorBoard for real, the others through their Python interface."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from softtf.errors import UserError
from softtf.tracking import TRACKERS, TrackedRun, Tracker, base

ID = "0123456789abcdef"
RED = Image.fromarray(np.full((8, 8, 3), (255, 0, 0), dtype=np.uint8))
Said = list[tuple[Any, ...]]


def tell(tracker: Tracker) -> None:
    """What a run of one task tells."""
    tracker.metrics({"epoch/losses/matching": 0.5, "epoch/seconds": 2.0}, 1)
    tracker.metrics({"evaluation/accuracy/gradient-id:batch24": 70.0}, 1)
    tracker.picture("matrix/gradient-id:batch24", RED, 1)
    tracker.close()


@pytest.fixture
def run(tmp_path: Path) -> TrackedRun:
    return TrackedRun(tmp_path, "digits-ncm-seed0", ID, {"train.epochs": 3})


@pytest.fixture
def faked(run: TrackedRun, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    """Tells a tracker with another library in place of its own."""

    def start(name: str, fake: Any) -> None:
        monkeypatch.setattr(f"softtf.tracking.{name}.library", lambda asked: {name: fake}[asked])
        tell(TRACKERS[name](run))

    return start


def test_tensorboard_reads_it_back(run: TrackedRun) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tell(TRACKERS["tensorboard"](run))
    log = EventAccumulator(str(run.folder / "tensorboard"))
    log.Reload()
    (matching,) = log.Scalars("epoch/losses/matching")
    assert (matching.step, matching.value) == (1, 0.5)
    (picture,) = log.Images("matrix/gradient-id:batch24")
    assert (picture.step, picture.width, picture.height) == (1, 8, 8)


def test_trackio_continues_the_run_of_the_id(faked: Callable[[str, Any], None]) -> None:
    said: Said = []
    log = SimpleNamespace(
        log=lambda values, step: said.append(("log", values, step)), finish=lambda: said.append(("finish",))
    )

    def init(**options: Any) -> Any:
        said.append(("init", options))
        return log

    faked("trackio", SimpleNamespace(init=init, Image=lambda image: ("image", image)))
    (_, options), *logged, end = said
    assert options["name"] == "digits-ncm-seed0 012345" and options["resume"] == "allow"
    assert options["config"] == {"train.epochs": 3}
    assert logged[0] == ("log", {"epoch/losses/matching": 0.5, "epoch/seconds": 2.0}, 1)
    assert logged[2] == ("log", {"matrix/gradient-id:batch24": ("image", RED)}, 1) and end == ("finish",)


def test_wandb_has_a_step_for_each_kind_of_line(
    faked: Callable[[str, Any], None], run: TrackedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "ours")
    said: Said = []
    log = SimpleNamespace(
        log=lambda values: said.append(("log", values)),
        define_metric=lambda name, step_metric: said.append(("over", name, step_metric)),
        finish=lambda: said.append(("finish",)),
    )

    def init(**options: Any) -> Any:
        said.append(("init", options))
        return log

    faked("wandb", SimpleNamespace(init=init, Image=lambda image: ("image", image)))
    (_, options), *logged = said
    assert (options["project"], options["id"], options["resume"]) == ("ours", ID, "allow")
    assert Path(options["dir"]) == run.folder
    assert logged == [
        ("over", "epoch/*", "epoch/step"),
        ("log", {"epoch/losses/matching": 0.5, "epoch/seconds": 2.0, "epoch/step": 1}),
        ("over", "evaluation/*", "evaluation/step"),
        ("log", {"evaluation/accuracy/gradient-id:batch24": 70.0, "evaluation/step": 1}),
        ("over", "matrix/*", "matrix/step"),
        ("log", {"matrix/gradient-id:batch24": ("image", RED), "matrix/step": 1}),
        ("finish",),
    ]


class MLflowClient:
    """A server of MLflow: what it has been told."""

    def __init__(self, experiments: list[str], runs: list[str]) -> None:
        self.experiments, self.runs = experiments, runs
        self.said: Said = []

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="7") if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        self.experiments.append(name)
        return "7"

    def search_runs(self, experiments: list[str], filter_string: str) -> list[Any]:
        assert (experiments, filter_string) == (["7"], f"tags.`softtf.id` = '{ID}'")
        return [SimpleNamespace(info=SimpleNamespace(run_id=run)) for run in self.runs]

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
        assert (experiment, run_name, tags) == ("7", "digits-ncm-seed0", {"softtf.id": ID})
        self.runs.append("new")
        return SimpleNamespace(info=SimpleNamespace(run_id="new"))

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: self.said.append((name, *args, *options.values()))


@pytest.mark.parametrize("before", [[], ["before"]], ids=["a new run", "a run that goes on"])
def test_mlflow_finds_the_run_of_the_id(before: list[str], faked: Callable[[str, Any], None]) -> None:
    client = MLflowClient(["softtf"] if before else [], [*before])
    faked("mlflow", SimpleNamespace(MlflowClient=lambda: client))
    run = before[0] if before else "new"
    assert client.experiments == ["softtf"] and client.runs == [run]
    first, *told = client.said
    assert first == (("update_run", run, "RUNNING") if before else ("log_param", run, "train.epochs", 3))
    assert told == [
        ("log_metric", run, "epoch/losses/matching", 0.5, 1),
        ("log_metric", run, "epoch/seconds", 2.0, 1),
        ("log_metric", run, "evaluation/accuracy/gradient-id.batch24", 70.0, 1),
        ("log_image", run, RED, "matrix/gradient-id.batch24", 1),
        ("set_terminated", run),
    ]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_library_that_is_missing_is_one_line(name: str, run: TrackedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(asked: str) -> Any:
        raise ImportError(f"No module named {asked!r}")

    monkeypatch.setattr(base, "import_module", missing)
    with pytest.raises(UserError, match=rf"{name} cannot be imported .*pip install 'softtf\[tracking\]'"):
        TRACKERS[name](run)
