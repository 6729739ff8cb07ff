"""What is read from a run for a page or a comparison: its results alone; the learner is not loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from softtf.errors import UserError
from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.evaluation.evaluate import Samples
from softtf.files.plain_json import NUMBER, fits
from softtf.inference.policy import BEST, parse_policy
from softtf.inference.pooling import PER_SAMPLE
from softtf.learners.class_table import ClassTable
from softtf.learners.spans import span_of
from softtf.recipes.methods import title_of
from softtf.runs.config import EvaluateConfig, RunConfig
from softtf.runs.folder import RunFolder
from softtf.runs.predictions import way_of
from softtf.runs.seconds import seconds_of
from softtf.saving.header import Header
from softtf.saving.manifest import Manifest
from softtf.saving.task import read_task

ORACLE = "oracle"
FOUND = {"policy": str, "title": str, "accuracy": dict}


@dataclass(frozen=True)
class PolicyResult:
    """The result of a run under one policy.

    Attributes:
        code: as `parse_policy` reads it.
        title: the policy's title.
        way: the name of the file of its answers (`way_of`).
        matrix: over the evaluated tasks.
        test_seconds: of all evaluations, from nothing; None if they were not recorded.
    """

    code: str
    title: str
    way: str
    matrix: AccuracyMatrix
    test_seconds: float | None

    @property
    def is_oracle(self) -> bool:
        """Whether the task was given."""
        return self.code == ORACLE

    @property
    def is_per_sample(self) -> bool:
        """Whether each sample was answered alone, and its task was not given."""
        return not self.is_oracle and parse_policy(self.code).pooling == PER_SAMPLE

    @property
    def evidence(self) -> str:
        """What an answer may rest on: its sample alone, a batch, or the task that is given."""
        if self.is_oracle or self.is_per_sample:
            return "the task given" if self.is_oracle else "each sample alone"
        return parse_policy(self.code).pooling.title("shuffled" in self.title)


@dataclass(frozen=True)
class RunResult:
    """What a run found, finished or not.

    Attributes:
        folder: the run's folder.
        config: its settings.
        weights: the backbone's weights, by name and hash.
        classes: of the evaluated tasks.
        tasks: the number of tasks of the stream; None if the run does not say.
        policies: the policies that scored the run, its own first and the oracle last.
        parameters: trained in the last task; None for a run that is not finished.
        train_seconds: of all tasks, from nothing.
        events: the run's log.
    """

    folder: RunFolder
    config: RunConfig
    weights: str
    classes: ClassTable
    tasks: int | None
    policies: tuple[PolicyResult, ...]
    parameters: int | None
    train_seconds: float
    events: Sequence[dict[str, Any]] = field(repr=False, default=())

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def method(self) -> str:
        """The title of the method."""
        return title_of(self.config.method)

    @property
    def span(self) -> str:
        """The classes that its loss compares."""
        return span_of(self.config.learner)

    @property
    def label(self) -> str:
        """The run's name in headings."""
        return f"{self.method}, seed {self.config.seed}"

    def task_name(self, task: int) -> str:
        """Return a task's number, from 1, and its name if that says more."""
        name = self.classes.names[task]
        return str(task + 1) if name.endswith(f"task {task + 1}") else f"{task + 1} {name}"

    @property
    def evaluated(self) -> int:
        """The number of tasks that were evaluated."""
        return len(self.classes.tasks)

    @property
    def finished(self) -> bool:
        """Whether all tasks were learned and the results were written."""
        return self.parameters is not None

    @property
    def headline(self) -> PolicyResult:
        """The policy that `predict` answers by, if the run was scored under it; else the first, which infers the task.

        The oracle if there is no other.
        """
        return next((policy for policy in self.policies if policy.code == BEST), self.policies[0])

    @property
    def oracle(self) -> PolicyResult | None:
        """The result with the task given, if there is one."""
        return next((policy for policy in self.policies if policy.is_oracle), None)

    def result(self, title: str) -> PolicyResult:
        """Return the result under the policy of a title."""
        return next(policy for policy in self.policies if policy.title == title)

    def samples(self, policy: PolicyResult) -> Samples | None:
        """Return the answer to each test sample under a policy; None if the run has none.

        Raises:
            UserError: the file is damaged, or does not fit the counts.
        """
        found = self.folder.predictions.load(policy.way, self.evaluated, len(self.classes.labels))
        if found is None:
            return None
        right = [int(((found.of_task == t) & (found.answer == found.label)).sum()) for t in range(self.evaluated)]
        total = [int((found.of_task == t).sum()) for t in range(self.evaluated)]
        if (right, total) != (policy.matrix.correct[-1], policy.matrix.total):
            file = self.folder.predictions.file(policy.way)
            raise UserError(f"{file} has other answers than were counted; remove it and run `softtf evaluate` again")
        return found


def read_run(path: Path) -> RunResult:
    """Read what a run found so far.

    Raises:
        UserError: there is no run, none of its tasks was evaluated, or a file is damaged.
    """
    folder, config = RunFolder.open(path)
    evaluated = folder.scores.counted()
    if not evaluated:
        raise UserError(f"{path} has nothing to show yet: no task was evaluated; go on with `softtf resume {path}`")
    events = folder.logged()
    seconds = seconds_of(events)
    finished = (path / "summary.json").exists()
    summary = folder.summary() if finished else {}
    policies = _policies(folder, config, evaluated, seconds.test_from_nothing, summary)
    return RunResult(
        folder,
        config,
        summary["weights"] if finished else folder.weights,
        _classes(folder.learner, evaluated),
        evaluated if finished else None,
        policies,
        summary.get("parameters_per_task"),
        summary["train_seconds_from_nothing"] if finished else seconds.train_from_nothing,
        events,
    )


def _classes(learner: Path, tasks: int) -> ClassTable:
    manifest = Manifest.read(learner)
    table = ClassTable(Header.read(manifest).allow_repeated)
    for task in range(tasks):
        labels, name, _ = read_task(manifest, task)
        table.add(labels, name)
    return table


def _policies(
    folder: RunFolder, config: RunConfig, tasks: int, seconds: dict[str, float], summary: dict[str, Any]
) -> tuple[PolicyResult, ...]:
    """Return the run's own policies and those of `softtf evaluate`; a later result replaces an earlier one."""
    found: dict[str, PolicyResult] = {}
    told = {code: policy["test_seconds_from_nothing"] for code, policy in summary.get("policies", {}).items()}
    for code, matrix in folder.scores.matrices(tasks).items():
        title = parse_policy(code).title(config.evaluate.shuffle)
        way = way_of(code, config.evaluate)
        found[title] = PolicyResult(code, title, way, matrix, told.get(code, seconds.get(code)))
    for result in _rescored(folder, tasks):
        found[result.title] = result
    return tuple(sorted(found.values(), key=lambda policy: policy.is_oracle))


def _rescored(folder: RunFolder, tasks: int) -> Iterator[PolicyResult]:
    """Yield what `softtf evaluate` found after every task; files of another form are refused with a UserError."""
    for content in folder.rescored():
        if content.get("accuracy") is None:
            continue  # scored after the last task only
        if not fits(content, FOUND):
            raise UserError(f"{folder.path / 'rescored'} holds a file that `softtf evaluate` did not write")
        matrix = AccuracyMatrix.from_dict(content["accuracy"])
        seconds = content.get("test_seconds_from_nothing", content.get("test_seconds"))
        shuffle, precision = content.get("shuffle") is True, content.get("precision", "float32")
        way = way_of(content["policy"], EvaluateConfig((), shuffle, precision=precision))
        if len(matrix.total) == tasks:
            yield PolicyResult(
                content["policy"], content["title"], way, matrix, seconds if fits(seconds, NUMBER) else None
            )


def runs_in(paths: Sequence[Path]) -> list[Path]:
    """Return the folders of the named runs, and of the runs in named folders, to a depth of two.

    Where a folder holds several runs, those that have nothing to show yet are left out.

    Raises:
        UserError: a path has no run.
    """
    found: dict[Path, None] = {}
    for path in paths:
        levels = ("config.yaml", "*/config.yaml", "*/*/config.yaml")
        files = next((files for level in levels if (files := sorted(path.glob(level)))), [])
        if not files:
            raise UserError(f"{path} is not a run and holds none: there is no {path / 'config.yaml'}")
        runs = [file.parent for file in files]
        begun = [run for run in runs if any(run.glob("accuracy/after-*.json"))]
        found |= dict.fromkeys(begun or runs)
    return list(found)
