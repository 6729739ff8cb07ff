"""Score a finished learner under other policies, without training; nothing in its run's folder changes."""

from pathlib import Path

from rich.console import Console

from softtf.errors import UserError
from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.evaluation.evaluate import Score, evaluate
from softtf.inference.policy import Policy
from softtf.machine import matmul_dtype
from softtf.run import reopen
from softtf.runconfig import EvaluateConfig
from softtf.saving import MaskPlace, load_learner


def rescore(
    path: Path,
    settings: EvaluateConfig,
    console: Console,
    last_only: bool = False,
    masks: MaskPlace = "memory",
    source: str | None = None,
) -> dict[str, tuple[AccuracyMatrix | None, Score]]:
    """Score the learner of a run as it was after each task (the whole matrix), or after the last task only.

    `masks` and `source` are as for `reopen`.

    Returns:
        policy title -> (accuracy matrix, or None with last_only; the counts after the last task).

    Raises:
        UserError: no task is finished, the data are gone or others, or the learner does not support a policy.
    """
    run = reopen(path, console, masks=masks, source=source)
    finished = len(run.classes.tasks)
    if not finished:  # the first one was being saved
        raise UserError(f"nothing was learned yet: {path} has no finished task; go on with `softtf resume {path}`")
    policies = settings.policies_for(run.learner)
    backbone = run.learner.network.backbone
    dtype = matmul_dtype(settings.precision, run.tests.loader.device)
    matrices = {policy: AccuracyMatrix() for policy in policies}
    scores: dict[Policy, Score] = {}
    for tasks in [finished] if last_only else range(1, finished + 1):
        _, learner, classes = load_learner(run.folder.learner, lambda _: backbone, tasks, strict=False, masks=masks)
        scores = evaluate(
            learner,
            run.tests,
            classes.column_labels(),
            policies,
            batch_size=settings.batch_size,
            dtype=dtype,
            shuffle_seed=run.config.seed if settings.shuffle else None,
        )
        if not last_only:
            for policy, matrix in matrices.items():
                score = scores[policy]
                matrix.add_row(score.correct, score.total, score.task_correct)
    return {p.title(settings.shuffle): (None if last_only else matrices[p], scores[p]) for p in policies}
