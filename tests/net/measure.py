"""Run one case and say in numbers and hashes what came of it."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from net.cases import Case
from net.worlds import World
from softtf import ContinualClassifier
from softtf.cli.main import main

Found = dict[str, Any]


class Failed(Exception):
    """A command did not do what it has to."""


def call(*args: object, code: int = 0) -> None:
    """Run a softtf command that must end with `code`."""
    found = main([str(arg) for arg in args])
    if found != code:
        raise Failed(f"exit code {found}, not {code}: softtf {' '.join(map(str, args))}")


def measure(case: Case, world: World, folder: Path) -> Found:
    """Return what a case's runs find; `folder` is left with the runs.

    run: learned from the command line. resumed: the same with statistics, stopped after an epoch of the second task and
    gone on with, then scored again under more policies. python: learned by `ContinualClassifier`. answers: of the run's
    learner, before and after it was saved once more.
    """
    source = ("--stream.source", world.source, "--backbone.name", world.backbone)
    command = ("run", *case.recipe, *source, *case.options)
    call(*command, "--output", folder / "run")
    found = {"run": of_run(folder / "run"), "answers": _answers(folder, world)}
    if case.fully:
        statistics = case.statistics(found["run"]["accuracy"])
        found["resumed"] = _resumed(folder / "resumed", (*command, *statistics), case, world)
        found["python"] = _python(folder, world)
        kept = set(tensors(folder / "run/learner").values())
        found["same numbers"] = {
            "resumed": kept <= set(tensors(folder / "resumed/learner").values()),
            "python": kept >= set(tensors(folder / "python").values()),
        }
    return found


def of_run(run: Path) -> Found:
    """Return the accuracy of a finished run under each policy, its parameters a task and its tensors' hashes."""
    accuracy = _read(run / "accuracy.json")
    parameters = _read(run / "summary.json")["parameters_per_task"]
    return {"accuracy": _counts(accuracy), "parameters": parameters, "tensors": hashes(run / "learner")}


def _counts(accuracy: Mapping[str, Any]) -> dict[str, str]:
    """Return right answers under each policy, and right tasks: after each task one number for each so far.

    Such as `3, 2 5; tasks 4, 4 6`, of two tasks.
    """
    found = {}
    for code, matrix in accuracy.items():
        parts = [matrix["correct"], matrix["task_correct"] or []]
        answers, tasks = (", ".join(" ".join(map(str, row)) for row in rows) for rows in parts)
        found[code] = f"{answers}; tasks {tasks}"
    return found


def _resumed(run: Path, command: Iterable[object], case: Case, world: World) -> Found:
    with stopping_in_the_second_task(run):
        call(*command, "--output", run, code=130)
    call("resume", run, "--backbone", world.backbone)
    found = of_run(run)
    call("evaluate", run, "--backbone", world.backbone, "--policy", *case.policies(found["accuracy"]))
    again = {r["policy"]: r["accuracy"] for r in map(_read, sorted((run / "rescored").glob("*.json")))}
    scored = _counts(again)
    if different := [code for code, rows in found["accuracy"].items() if scored[code] != rows]:
        raise Failed(f"evaluate finds other accuracies than the run did: {', '.join(different)}")
    return found | {"accuracy": scored, "usual": list(found["accuracy"])}


class stopping_in_the_second_task:  # noqa: N801 - reads as what it does
    """Ctrl-C at the first file that is opened once the second task has a checkpoint, or the first has scores."""

    runs: "list[stopping_in_the_second_task]" = []

    def __init__(self, run: Path) -> None:
        self.run, self.due = run, False

    def __enter__(self) -> None:
        if not self.runs:
            sys.addaudithook(self.told)  # cannot be taken away again
        self.runs[:] = [self]

    def __exit__(self, *error: object) -> None:
        self.run = Path(os.devnull)

    @classmethod
    def told(cls, event: str, args: tuple[Any, ...]) -> None:
        """Be told what the process does."""
        self = cls.runs[0]
        if event == "open" and self.due and str(args[0]).startswith(str(self.run)):
            self.due = False
            raise KeyboardInterrupt
        if event == "os.rename" and str(args[1]).startswith(str(self.run)):
            name = Path(str(args[1])).name
            begun = name == "checkpoint.safetensors" and (self.run / "accuracy/after-001.json").exists()
            self.due = self.due or begun or name == "after-002.json"


def _python(folder: Path, world: World) -> Found:
    """Return the tensors of what a classifier with the run's settings learns of the same tasks."""
    model = ContinualClassifier.from_pretrained(folder / "run/learner", backbone=world.backbone, tasks=0, device="cpu")
    for task, data in enumerate(world.train):
        model.learn(data, _read(folder / f"run/learner/task-{task + 1:03d}.json")["name"], progress=False)
    model.save_pretrained(folder / "python")
    return {"tensors": hashes(folder / "python")}


def _answers(folder: Path, world: World) -> Found:
    """Return probabilities and tasks of some inputs by the run's learner, saved and loaded once more."""
    inputs = [task[0][i] for task in world.test for i in (0, 5)]
    model = ContinualClassifier.from_pretrained(folder / "run/learner", backbone=world.backbone, device="cpu")
    given = {"task": 1} if set(_read(folder / "run/accuracy.json")) == {"oracle"} else {}
    before = model.predict_proba(inputs, **given)
    model.save_pretrained(folder / "again")
    model = ContinualClassifier.from_pretrained(folder / "again", backbone=world.backbone, device="cpu")
    after, tasks = model.predict_proba(inputs, **given), model.predict_task(inputs, **given)
    shutil.rmtree(folder / "again")
    if not torch.equal(before, after):
        raise Failed("saved and loaded once more, the learner gives other answers")
    return _probabilities(after) | {"tasks": tasks}


def _probabilities(found: torch.Tensor) -> Found:
    rows = [" ".join(f"{p:.3f}" for p in row) for row in found.tolist()]
    return {"probabilities": rows, "sha256": _sha(found.numpy().tobytes())}


def tensors(learner: Path) -> dict[str, str]:
    """Return the hash of every tensor of a learner's folder, its type and shape in it; by file and name."""
    return {
        f"{file.stem}/{name}": f"{value.dtype} {list(value.shape)} {_sha(_bytes(value))}"
        for file in sorted(learner.glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def hashes(learner: Path) -> Found:
    """Return a learner's hashes: of names and values, of values alone, and of names, types and shapes.

    A renamed tensor changes the first and the third; a changed number the first and the second.
    """
    found = tensors(learner)
    layout = [f"{name} {text.rpartition(' ')[0]}" for name, text in sorted(found.items())]
    return {
        "sha256": _sha("\n".join(f"{name} {text}" for name, text in sorted(found.items())).encode()),
        "values": _sha("\n".join(sorted(found.values())).encode()),
        "layout": _sha("\n".join(layout).encode()),
        "count": len(found),
    }


def _bytes(value: torch.Tensor) -> bytes:
    return np.ascontiguousarray(value.view(torch.uint8) if value.ndim else value[None].view(torch.uint8)).tobytes()


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))
