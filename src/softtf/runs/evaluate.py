"""Score a finished learner under other policies, without training, and add the results to its run's folder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.evaluation.evaluate import Score
from softtf.evaluation.metrics import summary
from softtf.evaluation.report import Row, printed_of
from softtf.inference.policy import Policy
from softtf.runs.config import EvaluateConfig
from softtf.runs.folder import RunFolder
from softtf.runs.places import NO_PLACES, Places
from softtf.runs.predictions import way_of
from softtf.runs.run import reopen
from softtf.saving.loading import as_after_each_task
from softtf.screen import Screen


@dataclass(frozen=True)
class Rescored:
    """The result under one policy.

    matrix: over all tasks, or None if the learner was scored after its last task only; score: the last task's counts,
    and the seconds of all; tasks: how many were learned.
    """

    policy: Policy
    settings: EvaluateConfig
    matrix: AccuracyMatrix | None
    score: Score
    tasks: int

    @property
    def title(self) -> str:
        """The policy spelled out."""
        return self.policy.title(self.settings.shuffle)

    def row(self, method: str, classes: str, weights: str) -> Row:
        """Return it as a table's row; without Forget if the learner was scored after its last task only."""
        score, forget = self.score, self.matrix.forget if self.matrix else None
        seconds = None, None, score.seconds, score.from_nothing
        others = printed_of(summary(self.matrix) if self.matrix else {})
        numbers = score.acc, forget, score.task_identity, None, *seconds
        return Row(method, self.title, classes, *numbers, weights=weights, others=others)

    def save(self, folder: RunFolder, environment: dict[str, Any]) -> Path:
        """Add it to a run's folder, and the answer to each sample if that is not there; another way stays beside it.

        Raises:
            UserError: it cannot be written.
        """
        settings, score = self.settings, self.score
        precision = "" if settings.precision == "float32" else f", {settings.precision}"
        way = way_of(self.policy.code, settings)
        if score.samples is not None and not folder.predictions.has(way, self.tasks, score.samples):
            folder.predictions.save(way, self.tasks, score.samples)
        metrics = (
            summary(self.matrix)
            if self.matrix
            else {"acc": score.acc, "pooled": score.pooled, "task_identity": score.task_identity}
        )
        content = {
            "policy": self.policy.code,
            "title": f"{self.title}{precision}",
            "shuffle": settings.shuffle,
            "precision": settings.precision,
            "batch_size": settings.batch_size,
            "tasks": self.tasks,
            "weights": folder.weights,
            **metrics,
            "ece": None if score.samples is None else score.ece,
            "test_seconds_this_run": score.seconds,
            "test_seconds_from_nothing": score.from_nothing,
            "counts": {"correct": score.correct, "task_correct": score.task_correct, "total": score.total},
            "accuracy": self.matrix.to_dict() if self.matrix else None,
            "environment": environment,
        }
        return folder.save_rescored(way if self.matrix else f"{way}-last", content)


def rescore(
    path: Path,
    settings: EvaluateConfig,
    console: Screen,
    last_only: bool = False,
    memory_limit: int | None = None,
    places: Places = NO_PLACES,
) -> list[Rescored]:
    """Score the learner of a run as it was after each task (the whole matrix), or after the last task only.

    `memory_limit` and `places` are as for `reopen`. Nothing is written.

    Raises:
        UserError: no task is finished, the data are gone or others, or the learner does not support a policy.
    """
    run = reopen(path, console, memory_limit=memory_limit, places=places)
    model, scorer = run.model, run.scorer(settings, again=not last_only)
    scores: dict[Policy, list[Score]] = {policy: [] for policy in scorer.policies}
    saved = run.folder.learner, model.header, model.learner
    each = [model.learner] if last_only else as_after_each_task(*saved, memory_limit)
    for learner in each:
        found = scorer.score(learner, f"after task {learner.num_tasks} of {model.num_tasks}", console=console)
        for policy, score in found.items():
            scores[policy].append(score)
    return [
        Rescored(p, settings, None if last_only else _matrix(s), _last(s), model.num_tasks) for p, s in scores.items()
    ]


def _matrix(scores: Sequence[Score]) -> AccuracyMatrix:
    matrix = AccuracyMatrix()
    for score in scores:
        matrix.add_row(score.correct, score.total, score.task_correct)
    return matrix


def _last(scores: Sequence[Score]) -> Score:
    seconds, nothing = sum(s.seconds for s in scores), sum(s.from_nothing for s in scores)
    return replace(scores[-1], seconds=seconds, from_nothing=nothing)
