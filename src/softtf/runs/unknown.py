"""How well a run's learner tells unknown inputs: test samples of the tasks to come, against those of tasks learned."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softtf.backbones.features import FixedQueries
from softtf.config.bounds import FalseRejection
from softtf.config.tree import check_value
from softtf.errors import UserError
from softtf.evaluation.evaluate import known_trunk
from softtf.evaluation.test_data import TestData
from softtf.files.plain_json import fits
from softtf.inference.unknown import Unknown, told_apart, unknown_to
from softtf.learners.base import Learner
from softtf.learners.class_table import ClassTable
from softtf.learners.knowledge import Finished
from softtf.network import SharedPass
from softtf.runs.folder import RunFolder
from softtf.runs.places import NO_PLACES, Places
from softtf.runs.run import reopen
from softtf.saving.loading import as_after_each_task
from softtf.screen import Screen

FILE = "unknown"
FORM = {"tasks": int, "auroc": float, "known_rejected": float, "unknown_rejected": float}


@dataclass(frozen=True)
class UnknownScore:
    """After `tasks` tasks: the AUROC, and the shares of known and unknown samples that are rejected, in percent."""

    tasks: int
    auroc: float
    known_rejected: float
    unknown_rejected: float


def score_unknown(
    path: Path, rate: float, console: Screen, memory_limit: int | None = None, places: Places = NO_PLACES
) -> list[UnknownScore]:
    """Measure it after each task but the last, in a run's folder; nothing is written.

    Args:
        path: the run's folder.
        rate: the share of known inputs that may be rejected.
        console: for progress and notes.
        memory_limit: as for `reopen`.
        places: as for `reopen`.

    Raises:
        UserError: no task is to come after one with two classes or more, the learner cannot tell, or the data are gone.
    """
    check_value(FalseRejection, rate, "rate")
    run = reopen(path, console, memory_limit=memory_limit, places=places)
    model, data = run.model, run.scorer(run.config.evaluate).data
    classes, found = ClassTable(allow_repeated=True), []
    for learner in as_after_each_task(run.folder.learner, model.header, model.learner, memory_limit):
        tasks = learner.num_tasks
        classes.add(model.classes.tasks[tasks - 1], model.classes.names[tasks - 1])
        seen = torch.isin(data.labels, torch.tensor([run.table.number(label) for label in classes.labels]))
        known, unknown = (data.tasks < tasks) & seen, ~seen
        if len(classes.labels) < 2 or not unknown.any():
            continue
        with learner.computing_in(model.dtype):
            strange = torch.cat([*_strange(unknown_to(Finished(learner, classes)), learner, data)])
        found.append(UnknownScore(tasks, **told_apart(strange[known], strange[unknown], rate)))
    if not found:
        raise UserError(f"{path} has no task to come after two classes are known, so there is nothing unknown to it")
    return found


@torch.no_grad()
def _strange(unknown: Unknown, learner: Learner, data: TestData) -> Iterator[Tensor]:
    """Yield how unknown the samples of each batch are."""
    queries = data.queries or FixedQueries(learner.network.backbone, data.loader)
    values, network = queries.get().values, learner.network
    for rows in torch.arange(len(values)).split(data.loader.batch_size):
        query = values[rows].to(next(learner.parameters()).device)
        shared = SharedPass(network, partial(data.loader.inputs, rows.tolist()), query, known_trunk(learner, query))
        yield unknown.familiarity.unknown(unknown.units(learner, shared))


def save_unknown(folder: RunFolder, rate: float, scores: list[UnknownScore]) -> Path:
    """Add the scores to a run's folder.

    Raises:
        UserError: they cannot be written.
    """
    return folder.save_rescored(FILE, {"false_rejection": rate, FILE: [asdict(score) for score in scores]})


def read_unknown(content: dict[str, Any]) -> tuple[float, list[UnknownScore]] | None:
    """Return the rate and the scores that `save_unknown` wrote; None if this is another file."""
    if not fits(content, {"false_rejection": float, FILE: [FORM]}):
        return None
    scores = [UnknownScore(**{name: score[name] for name in FORM}) for score in content[FILE]]
    return content["false_rejection"], scores
