"""Rehearsal with herded exemplars: equally many of each class, trained on beside the new task's data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.fine_tuning import FineTuning
from softtf.backbones.base import Backbone
from softtf.errors import UserError
from softtf.learners.base import LearnerSpec, Replay
from softtf.learners.distilling import DistillingLearner
from softtf.learners.fine_tuning import WHOLE_NETWORK, check_counts, network_features
from softtf.learners.spans import LossClasses
from softtf.memory import herd, pack, unpack
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
    exemplars: int = 2000
    tune: FineTuning = FineTuning()
    classes: LossClasses = "seen"

    def __post_init__(self) -> None:
        check_counts(exemplars=self.exemplars)

    def check_classes(self, count: int) -> None:
        """Refuse more classes than the exemplars suffice for; raises UserError."""
        check_budget(self.exemplars, self.least, count)


class RehearsingLearner(DistillingLearner):
    """Keeps exemplars // classes of each class (or all it has), in herding order, so that fewer are the first ones."""

    least = 1

    def __init__(self, backbone: Backbone, seed: int, spec: RehearsalSpec) -> None:
        super().__init__(backbone, spec.tune, seed, spec.classes)
        self.budget, self.least = spec.exemplars, spec.least

    def begin_task(self, num_classes: int) -> None:
        """Open the task.

        Raises:
            UserError: the exemplars would not suffice for the classes then seen.
        """
        check_budget(self.budget, self.least, self.num_classes + num_classes)
        super().begin_task(num_classes)

    def memory_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Return the shapes of exemplars and their columns."""
        return {COLUMNS: (None,), f"{EXAMPLES}.values": (None,), f"{EXAMPLES}.shapes": (None, None)}

    def replay(self) -> Replay | None:
        """Return all exemplars."""
        if COLUMNS not in self.memory:
            return None
        return Replay(unpack(EXAMPLES, self.memory), self.memory[COLUMNS])

    def consolidate(self, loader: Loader) -> None:
        """Herd the new classes' exemplars by today's features, and drop the last of the old ones'."""
        self.choose_exemplars(loader, F.normalize(self.training_features(loader)))

    def features(self, inputs: Tensor) -> Tensor:
        """Return the features [b, dim] that the classifier reads of prepared inputs [b, ...]."""
        return network_features(self.network, inputs)

    @torch.no_grad()
    def training_features(self, loader: Loader) -> Tensor:
        """Return the features [n, dim] of all that was trained on, exemplars too, without augmentation."""
        return torch.cat([self.features(inputs) for inputs in loader.unaugmented()])

    def choose_exemplars(self, loader: Loader, features: Tensor) -> list[Tensor]:
        """Replace the exemplars, herded by unit features [n, dim]; return each class's rows of the loader."""
        targets = loader.targets.cpu()
        classes = self.num_classes
        chosen = []
        for column in range(classes):
            rows = (targets == column).nonzero()[:, 0]  # of an old class: its exemplars, in herding order
            if column >= self.num_old:
                rows = rows[herd(features[rows].cpu(), self.budget // classes)]
            chosen.append(rows[: self.budget // classes])
        rows = torch.cat(chosen)
        self.memory = self.memory | pack(EXAMPLES, loader.loaded(rows.tolist())) | {COLUMNS: targets[rows]}
        return chosen


def check_budget(exemplars: int, least: int, classes: int) -> None:
    """Raise UserError unless there are `least` exemplars for each of so many classes."""
    if exemplars < least * classes:
        raise UserError(f"{exemplars} exemplars do not suffice for {classes} classes; give at least {least * classes}")
