"""Rehearsal of herded exemplars, equally many per class, together with the new task's data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from softtf.adaptations.fine_tuning import FineTuning
from softtf.config.bounds import Count
from softtf.devices.processes import together
from softtf.errors import UserError
from softtf.files.tensor_form import TensorForm, in_runs
from softtf.learners.base import Learner
from softtf.learners.fine_tuning import WHOLE_NETWORK
from softtf.learners.spans import LossClasses
from softtf.learners.spec import LearnerSpec
from softtf.learners.task_data import TaskData
from softtf.memory import concatenate, concatenated_forms, herd, separate
from softtf.streams import Loader

EXAMPLES, COLUMNS = "exemplars", "exemplars.columns"


@dataclass(frozen=True)
class RehearsalSpec(LearnerSpec):
    """The settings of every method that fine-tunes and rehearses herded exemplars.

    Attributes:
        exemplars: exemplars kept in all, equally many per class.
        tune: the weights that are trained.
        classes: the classes that the cross-entropy compares, see the method.

    least: the fewest exemplars per class with which the method works.
    """

    training = WHOLE_NETWORK
    least: ClassVar[int] = 1
    exemplars: Count = 2000
    tune: FineTuning = FineTuning()
    classes: LossClasses = "seen"

    def for_stream(self, count: int) -> Self:
        """Raise UserError if the exemplars are too few for that many classes."""
        check_budget(self.exemplars, self.least, count)
        return self


class Exemplars:
    """What a learner remembers of each class: budget // classes examples, or all there are, in herding order.

    To keep fewer is to keep the first ones. Exemplars are in the learner's `memory`; every later task rehearses them.

    Args:
        budget: exemplars kept in all.
        least: the fewest exemplars per class with which the method works.
    """

    def __init__(self, budget: int, least: int = 1) -> None:
        self.budget, self.least = budget, least

    def forms(self, learner: Learner) -> dict[str, TensorForm]:
        """Return the forms of a learner's exemplars and their columns; each class has some, in the order of classes."""
        example = learner.network.backbone.preparation.loaded_form
        return {
            COLUMNS: in_runs("exemplars", learner.num_classes),
            **concatenated_forms(EXAMPLES, "exemplars", example),
        }

    def rehearse(self, memory: Mapping[str, Tensor], data: TaskData) -> None:
        """Add all exemplars to the training data.

        Raises:
            UserError: the exemplars are too few for all classes, the new ones included.
        """
        check_budget(self.budget, self.least, len(data.column_labels))
        if COLUMNS in memory:
            data.rehearse(separate(EXAMPLES, memory), memory[COLUMNS])

    def choose(self, learner: Learner, loader: Loader, features: Tensor) -> list[Tensor]:
        """Choose the new classes' exemplars by herding, and drop the last ones of old classes.

        Args:
            learner: its `memory` receives the exemplars.
            loader: of all training data.
            features: [n, dim], those of the loader's examples at length 1.

        Returns:
            each class's rows of the loader.
        """
        targets = loader.targets.cpu()
        count = self.budget // learner.num_classes
        chosen = []
        for column in range(learner.num_classes):
            rows = (targets == column).nonzero()[:, 0]  # for an old class, its exemplars in herding order
            if column >= learner.num_old:
                rows = rows[herd(features[rows].cpu(), count)]
            chosen.append(rows[:count])
        rows = torch.cat(chosen)
        learner.memory = learner.memory | concatenate(EXAMPLES, loader.loaded(rows.tolist())) | {COLUMNS: targets[rows]}
        return chosen


@torch.no_grad()
def features_of(loader: Loader, features: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the features [n, dim] of all training data, exemplars too, without augmentation.

    The processes of a run each compute some batches.
    """
    return together(
        loader.all_batches(), lambda batches: (features(loader.prepared(loader.loaded(batch))) for batch in batches)
    )


def check_budget(exemplars: int, least: int, classes: int) -> None:
    """Raise UserError unless the exemplars suffice for `least` per class."""
    if exemplars < least * classes:
        raise UserError(f"{exemplars} exemplars do not suffice for {classes} classes; give at least {least * classes}")
