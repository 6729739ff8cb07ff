"""From users' data to a learner: loaders with the right preparation, labels as the numbers a learner works with."""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from softtf.backbones.features import FeatureStore
from softtf.devices.memory import needs_memory
from softtf.errors import OutOfMemoryError, UserError
from softtf.evaluation.evaluate import TestData
from softtf.learners import ClosedFormLearner, Learner
from softtf.learners.class_table import ClassTable
from softtf.learners.closed_form import ONE_PASS
from softtf.learners.task_data import TaskData
from softtf.streams import Examples, Loader
from softtf.training.closed_form import ClosedFormTraining
from softtf.training.config import TrainConfig
from softtf.training.gradient import GradientTraining
from softtf.training.task import TaskTraining


@needs_memory(
    "begin the task", lambda learner, classes, examples, name, config, *_, **__: config.batch_size, OutOfMemoryError
)
def begin_training(
    learner: Learner,
    classes: ClassTable,
    examples: Examples,
    name: str,
    config: TrainConfig,
    store: FeatureStore | None = None,
) -> TaskTraining:
    """Open a new task for `examples` in the learner and the class table, and return its training.

    Args:
        learner: what learns; it goes on in a copy of its state (`Learner.go_on`).
        classes: the table of all classes.
        examples: the task's data.
        name: what to call it.
        config: how to train.
        store: where queries that stay the same in all epochs are kept; None for memory only.

    Raises:
        UserError: a class was learned before, and that is not allowed; a setting or a label does not fit the learner.
        TrainingError: there is not enough memory (an OutOfMemoryError), or an earlier version's statistics.
    """
    check_training(learner, config)
    learner.go_on()
    classes.add(examples.classes, name)
    data = TaskData(examples, classes, learner.network.backbone, config.batch_size, config.augment, store)
    learner.begin_task(data)
    if isinstance(learner, ClosedFormLearner):
        return ClosedFormTraining(learner, data, config)
    return GradientTraining(learner, data, config)


def check_training(learner: Learner, config: TrainConfig) -> None:
    """Refuse settings that this learner would ignore.

    Raises:
        UserError: clean queries for a learner that matches none.
    """
    if config.clean_query and learner.query_use != "matching":
        raise UserError(
            f"clean_query does nothing for a {type(learner).__name__}, which matches no query; leave it out"
        )


def unread_settings(learner: Learner, config: TrainConfig) -> str:
    """Return one line that names what in `config` a solved learner does not read; empty if nothing was asked for."""
    plain = TrainConfig(**ONE_PASS)
    if not isinstance(learner, ClosedFormLearner) or config == TrainConfig():
        return ""
    names = [f.name for f in dataclasses.fields(config) if getattr(config, f.name) != getattr(plain, f.name)]
    names = [name for name in names if name != "precision"]
    who = type(learner).__name__
    return f"{who} is solved in one pass over frozen features; it does not read {', '.join(names)}" if names else ""


def test_data(tests: Sequence[Examples], classes: ClassTable, learner: Learner, batch_size: int) -> TestData:
    """Put the test sets of tasks 1, 2, ... behind one another.

    `classes` must hold the labels of all of them; a run gives the whole stream's.

    Raises:
        UserError: a test label is not in the class table.
    """
    whole = Examples.concatenate(list(tests))
    labels = torch.tensor([classes.number(label) for label in whole.labels])
    tasks = torch.repeat_interleave(torch.arange(len(tests)), torch.tensor([len(t) for t in tests]))
    return TestData(test_loader(whole, learner, batch_size), labels, tasks)


def test_loader(examples: Examples, learner: Learner, batch_size: int) -> Loader:
    """Return a loader of unaugmented inputs in their order."""
    targets = torch.zeros(len(examples), dtype=torch.int64)
    return Loader(examples, targets, learner.network.backbone.preparation, False, batch_size, device_of(learner))


def device_of(learner: Learner) -> torch.device:
    """Return where the learner's backbone is."""
    return next(learner.network.backbone.parameters()).device


def group_numbers(groups: Sequence[Hashable], count: int) -> Tensor:
    """Return group numbers from 0 in order of appearance, [count].

    Raises:
        UserError: not one group per input.
    """
    if len(groups) != count:
        raise UserError(f"groups must name one group per input: {count} inputs but {len(groups)} groups")
    numbers: dict[Hashable, int] = {}
    try:
        return torch.tensor([numbers.setdefault(g, len(numbers)) for g in _plain(groups)])
    except TypeError:
        raise UserError("every group must be hashable, such as a string or a number") from None


def _plain(values: Sequence[Any]) -> list[Hashable]:
    """Return the values with array scalars as Python ones, so that equal ones are equal."""
    return [v.item() if hasattr(v, "item") else v for v in values]
