"""Rehearsal with herded exemplars: equally many of each class, trained on beside the new task's data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from softtf.adaptations.fine_tuning import FineTuning
from softtf.config.bounds import Count
from softtf.errors import UserError
from softtf.files.tensor_form import TensorForm, in_runs
from softtf.learners.base import Learner, LearnerSpec
from softtf.learners.fine_tuning import WHOLE_NETWORK
from softtf.learners.spans import LossClasses
from softtf.learners.task_data import TaskData
from softtf.memory import herd, pack, packed_forms, unpack
from softtf.streams import Loader

EXAMPLES, COLUMNS = "exemplars", "exemplars.columns"


@dataclass(frozen=True)
class RehearsalSpec(LearnerSpec):
    """The settings of every method that fine-tunes and rehearses herded exemplars.

    Attributes:
        exemplars: how many are kept in all, equally many of each class.
        tune: which weights are trained.
        classes: see the method.

    least: how many exemplars of each class the method cannot do without.
    """

    training = WHOLE_NETWORK
    least: ClassVar[int] = 1
    exemplars: Count = 2000
    tune: FineTuning = FineTuning()
    classes: LossClasses = "seen"

    def for_stream(self, count: int) -> Self:
        """Refuse more classes than the exemplars suffice for; raises UserError."""
        check_budget(self.exemplars, self.least, count)
        return self


class Exemplars:
    """What a learner remembers of each class: budget // classes examples, or all there are, in herding order.

    So fewer are the first ones. They are in the learner's `memory`, and rehearsed with every later task.

    Args:
        budget: how many are kept in all.
        least: how many of each class the method cannot do without.
    """

    def __init__(self, budget: int, least: int = 1) -> None:
        self.budget, self.least = budget, least

    def forms(self, learner: Learner) -> dict[str, TensorForm]:
        """Return the forms of a learner's exemplars and their columns: each class has some, in the order of classes."""
        example = learner.network.backbone.preparation.loaded_form
        return {COLUMNS: in_runs("exemplars", learner.num_classes), **packed_forms(EXAMPLES, "exemplars", example)}

    def rehearse(self, memory: Mapping[str, Tensor], data: TaskData) -> None:
        """Have all exemplars trained on beside the task's own examples.

        Raises:
            UserError: the exemplars would not suffice for the classes then seen.
        """
        check_budget(self.budget, self.least, len(data.column_labels))
        if COLUMNS in memory:
            data.rehearse(unpack(EXAMPLES, memory), memory[COLUMNS])

    def choose(self, learner: Learner, loader: Loader, features: Tensor) -> list[Tensor]:
        """Herd the new classes' exemplars by features, and drop the last of the old ones'.

        Args:
            learner: whose `memory` they go to.
            loader: of all that was trained on.
            features: at length 1, [n, dim], of the loader's examples.

        Returns:
            each class's rows of the loader.
        """
        targets = loader.targets.cpu()
        count = self.budget // learner.num_classes
        chosen = []
        for column in range(learner.num_classes):
            rows = (targets == column).nonzero()[:, 0]  # of an old class: its exemplars, in herding order
            if column >= learner.num_old:
                rows = rows[herd(features[rows].cpu(), count)]
            chosen.append(rows[:count])
        rows = torch.cat(chosen)
        learner.memory = learner.memory | pack(EXAMPLES, loader.loaded(rows.tolist())) | {COLUMNS: targets[rows]}
        return chosen


@torch.no_grad()
def features_of(loader: Loader, features: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the features [n, dim] of all that was trained on, exemplars too, without augmentation."""
    return torch.cat([features(inputs) for inputs in loader.unaugmented()])


def check_budget(exemplars: int, least: int, classes: int) -> None:
    """Raise UserError unless there are `least` exemplars for each of so many classes."""
    if exemplars < least * classes:
        raise UserError(f"{exemplars} exemplars do not suffice for {classes} classes; give at least {least * classes}")
