"""An outside judge kills runs and saves at their file events, goes on, and compares with what nobody killed."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli import BACKBONE, DIGITS, FEATURE_ID, call
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from support.chaos import Job, verdict
from support.folders import SOFT_TF, load
from support.tiny import classifier, pictures, tiny_backbone
from support.tiny_bert import save_model

pytestmark = pytest.mark.slow

POINTS = int(os.environ.get("TRIALS", 10))
RESULT = "result.json"
SHORT = ("--stream.num-tasks", "2", "--device", "cpu")
STEPS = ("--train.epochs", "2", "--train.batch-size", "10", "--train.precision", "float32")
RUNS = {
    "exemplars": ("quickstart", "--method", "der++", "--learner.exemplars", "20", *BACKBONE, *SHORT, *STEPS, *DIGITS),
    "closed form": ("quickstart", "--method", "ranpac", "--learner.projection", "40", *BACKBONE, *SHORT, *DIGITS),
}
CONTRACT = ("--step-regex", r"resumed from task (\d+)", "--checkpoint-glob", "{out}/learner/task-*.json")


def texts_of(folder: Path) -> tuple[str, ...]:
    """The arguments of a run on six classes of short texts, by a tiny encoder."""
    rows = [
        f"{word} {n},{word},part {i // 3}"
        for i, word in enumerate(("ant", "bee", "cow", "oak", "elm", "fir"))
        for n in range(8)
    ]
    (folder / "mine.csv").write_text("text,label,task\n" + "\n".join(rows))
    encoder = save_model(folder / "encoder")
    layers = ("--learner.g-layers", "1", "--learner.e-layers", "3-4", "--learner.adapt.layers", "3-4")
    return (
        str(folder / "mine.csv"),
        "--method",
        "dual-prompt+soft-tf",
        "--backbone.name",
        str(encoder),
        "--backbone.max-tokens",
        "20",
        *layers,
        *STEPS,
        *FEATURE_ID,
        "--device",
        "cpu",
    )


def run_jobs(arguments: Sequence[str]) -> dict[str, Job]:
    """A run, and going on with it; a backbone that was given by its path is given again."""
    backbone = arguments[arguments.index("--backbone.name") + 1]
    given = ("--backbone", backbone) if Path(backbone).exists() else ()

    def learn(path: Path) -> int:
        return call("run", *arguments, "--output", path)

    def go_on(path: Path) -> int:
        return call("resume", path, *given) if (path / "config.yaml").exists() else learn(path)

    return {"learn": learn, "go-on": go_on}


@pytest.mark.parametrize("kind", [*RUNS, "texts"])
def test_a_killed_run_goes_on(kind: str, tmp_path: Path) -> None:
    arguments = RUNS.get(kind) or texts_of(tmp_path)
    code, report = verdict(tmp_path, run_jobs(arguments), "accuracy.json", POINTS, *CONTRACT)
    assert code == 0, report
    assert (tmp_path / "points/reference/out/accuracy.json").exists()


def answers(model: ContinualClassifier) -> list[list[float]]:
    found: list[list[float]] = model.predict_proba(pictures(6, 4)).tolist()
    return found


def note(path: Path) -> int:
    """Write down what a saved learner answers, its files, and what else is left."""
    names, left = (sorted(p.name for p in folder.iterdir()) for folder in (path / "learner", path))
    content = {"answers": answers(load(path / "learner")), "files": names, "left": [n for n in left if n != RESULT]}
    (path / RESULT).write_text(json.dumps(content))
    return 0


@pytest.fixture(scope="module")
def versions() -> list[ContinualClassifier]:
    """A classifier after two tasks, and after three."""
    return [classifier(SOFT_TF, tasks, tiny_backbone()) for tasks in (2, 3)]


def test_a_killed_replacement_leaves_the_old_learner_or_the_new(
    tmp_path: Path, versions: list[ContinualClassifier]
) -> None:
    old, new = versions
    old.save_pretrained(tmp_path / "before/learner")
    known = [answers(old), answers(new)]

    def learn(path: Path) -> int:
        new.save_pretrained(path / "learner", replace=True)
        return note(path)

    def go_on(path: Path) -> int:
        assert answers(load(path / "learner")) in known, "neither the old learner nor the new one"
        return learn(path)

    code, report = verdict(tmp_path, {"learn": learn, "go-on": go_on}, RESULT, POINTS, before=tmp_path / "before")
    assert code == 0, report


def test_a_killed_first_save_is_made_good_by_the_next(tmp_path: Path, versions: list[ContinualClassifier]) -> None:
    _, model = versions

    def learn(path: Path) -> int:
        model.save_pretrained(path / "learner")
        return note(path)

    def go_on(path: Path) -> int:
        try:
            found = answers(load(path / "learner"))
        except UserError:
            return learn(path)
        assert found == answers(model)  # whole; but its card, which comes last, may be missing
        model.save_pretrained(path / "learner", replace=True)
        return note(path)

    code, report = verdict(tmp_path, {"learn": learn, "go-on": go_on}, RESULT, POINTS)
    assert code == 0, report
