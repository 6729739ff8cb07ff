"""The results of a finished run: its matrices, its summary, and the rows of a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.evaluation.metrics import summary
from softtf.evaluation.report import Row, printed_of
from softtf.inference.policy import parse_policy
from softtf.learners.base import Learner
from softtf.learners.spans import span_of
from softtf.recipes.methods import title_of
from softtf.runs.config import RunConfig
from softtf.runs.folder import RunFolder
from softtf.runs.seconds import seconds_of
from softtf.saving.card import Measured, literal
from softtf.saving.header import Header
from softtf.streams import TaskStream


def results_of(
    folder: RunFolder,
    stream: TaskStream,
    learner: Learner,
    config: RunConfig,
    matrices: Mapping[str, AccuracyMatrix],
) -> dict[str, Any]:
    """Return the summary of a run whose tasks are all learned and scored; matrices: of each policy, over all tasks."""
    seconds = seconds_of(folder.logged())
    last = learner.num_tasks - 1
    own = sum(slots.num_parameters(last) for slots in learner.slot_modules().values())
    shared = sum(p.numel() for _, p in learner.shared_parameters() if p.requires_grad)
    return {
        "recipe": config.recipe,
        "method": config.method,
        "classes": span_of(config.learner),
        "seed": config.seed,
        "weights": folder.weights,
        "weights_sha256": Header.read(folder.learner).backbone_sha256,
        "fewer_rows": config.stream.fewer_rows(stream),
        "parameters_per_task": own + shared,
        "bytes_per_task": (folder.learner / f"task-{len(stream):03d}.safetensors").stat().st_size,
        "train_seconds_this_run": seconds.train,
        "train_seconds_from_nothing": seconds.train_from_nothing,
        "evaluation_seconds": seconds.evaluation,
        "policies": {
            code: {
                "title": parse_policy(code).title(config.evaluate.shuffle),
                **summary(matrix),
                "test_seconds_this_run": seconds.test.get(code, 0.0),
                "test_seconds_from_nothing": seconds.test_from_nothing.get(code, 0.0),
            }
            for code, matrix in matrices.items()
        },
    }


def write_results(folder: RunFolder, matrices: Mapping[str, AccuracyMatrix], results: Mapping[str, Any]) -> None:
    """Write the matrices of a run, then its summary: with it the run is finished."""
    for code, matrix in matrices.items():
        folder.save_matrix(code, matrix)
    folder.write_json("accuracy.json", {code: matrix.to_dict() for code, matrix in matrices.items()})
    folder.save_summary(results)


def measured_in(path: Path) -> Measured | None:
    """Return what a finished run measured, for the card of its learner; None for other runs and saved learners.

    Raises:
        UserError: the summary cannot be read.
    """
    folder = _finished(path)
    return None if folder is None else measured_of(folder.summary())


def measured_of(results: Mapping[str, Any]) -> Measured:
    """Return what a run's summary says that it measured."""
    rows = [(p["title"], p["acc"], p["forget"], p["task_identity"]) for p in results["policies"].values()]
    return Measured(f"the test sets of its run (recipe {literal(results['recipe'])}, seed {results['seed']})", rows)


def last_accuracies(path: Path, tasks: int) -> dict[str, list[float]]:
    """Return by each policy's title the percentage of each task's test samples answered right at a finished run's end.

    Other runs and saved learners have none.

    Raises:
        UserError: the results cannot be read.
    """
    folder = _finished(path)
    if folder is None:
        return {}
    titles = {code: policy["title"] for code, policy in folder.summary()["policies"].items()}
    return {titles[code]: matrix.a[:, -1].tolist() for code, matrix in folder.scores.matrices(tasks).items()}


def learned_accuracies(path: Path, tasks: int, policy: str) -> list[tuple[float, int]]:
    """Return each task's accuracy in percent when a run learned it, and the number of its test samples.

    Args:
        path: the run's folder.
        tasks: how many tasks it has.
        policy: the code of the policy; the list is empty if that was not measured.

    Raises:
        UserError: the counts cannot be read.
    """
    folder = _finished(path)
    matrix = None if folder is None else folder.scores.matrices(tasks).get(policy)
    return [] if matrix is None else list(zip(matrix.a.diagonal().tolist(), matrix.total, strict=True))


def _finished(path: Path) -> RunFolder | None:
    """Return the folder of a finished run; None for another run, or for a learner that was saved."""
    is_finished = all((path / name).exists() for name in ("config.yaml", "summary.json"))
    return RunFolder(path) if is_finished else None


def result_rows(results: dict[str, Any], config: RunConfig) -> list[Row]:
    """Return a row per policy of a finished run's summary; config: its settings, which say what the loss is over."""
    title = title_of(results["method"])
    return [
        Row(
            title,
            policy["title"],
            span_of(config.learner),
            policy["acc"],
            policy["forget"],
            policy["task_identity"],
            results["parameters_per_task"],
            results["train_seconds_this_run"],
            results["train_seconds_from_nothing"],
            policy["test_seconds_this_run"],
            policy["test_seconds_from_nothing"],
            weights=results["weights"],
            others=printed_of(policy),
        )
        for policy in results["policies"].values()
    ]
