"""Unknown inputs: those of no class that was learned, told by the sums that a learner keeps of its tasks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from softtf.devices.memory import needs_memory
from softtf.errors import UserError
from softtf.learners.base import Learner
from softtf.learners.closed_form import ClosedFormLearner
from softtf.learners.knowledge import Finished
from softtf.learners.shares import METHOD
from softtf.network import SharedPass
from softtf.statistics import ClassScores
from softtf.statistics.familiarity import Familiarity, familiarity

UnknownInputs = Literal["answer", "reject"]
USUAL_RATE = 0.05


@dataclass(frozen=True)
class Unknown:
    """The familiarity of inputs to a learner, and the units that it reads: the method's, or those of the statistics."""

    familiarity: Familiarity
    owner: str

    def units(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return h [batch, M] of a batch of inputs."""
        if self.owner == METHOD:
            assert isinstance(learner, ClosedFormLearner)
            return learner.units(shared.trunk, 0)
        h: Tensor = _class_scores(learner).regression(shared.query)
        return h

    @torch.no_grad()
    def by_label(self, learner: Learner, inputs: Tensor) -> Tensor:
        """Return by how much each label is likelier than the mean of all, [batch, labels], in logarithms."""
        return self.familiarity.by_label(self.units(learner, SharedPass(learner.network, inputs))).cpu()

    def watch(self, learner: Learner, passes: Iterable[SharedPass], found: list[Tensor]) -> Iterator[SharedPass]:
        """Yield passes; after each was used, add to `found` how unknown its inputs are, [batch]."""
        for shared in passes:
            yield shared
            found.append(self.familiarity.unknown(self.units(learner, shared)))


def can_tell(known: Finished) -> bool:
    """Return whether a learner can tell unknown inputs (`unknown_to`)."""
    return len(known.classes.labels) > 1 and _sums(known.learner) is not None


def _sums(learner: Learner) -> tuple[str, int] | None:
    """Return whose sums tell unknown inputs, and the length of its units; None if there are none."""
    if isinstance(learner, ClosedFormLearner) and learner.unit_size:
        return METHOD, learner.unit_size
    if ClassScores.name in learner.statistics:
        return ClassScores.name, _class_scores(learner).regression.size
    return None


def _class_scores(learner: Learner) -> ClassScores:
    statistics = learner.statistics[ClassScores.name]
    assert isinstance(statistics, ClassScores)
    return statistics


@needs_memory("find out which inputs are unknown")
def unknown_to(known: Finished) -> Unknown:
    """Return what tells inputs that are unknown to a learner.

    Raises:
        UserError: it keeps no sums from which that follows, or it knows a single class.
    """
    learner, classes = known
    if len(classes.labels) < 2:
        raise UserError("what is unknown shows only beside two classes or more, and one was learned; learn another")
    if (sums := _sums(learner)) is None:
        raise UserError(
            f"{learner.method} keeps no sums that tell unknown inputs; learn with {ClassScores.setting}="
            f"{ClassScores.amount} from the start (softtf run ... {ClassScores.option()}), which keeps them beside any"
            " method"
        )
    owner, size = sums
    return Unknown(familiarity(learner.shares_of(classes.column_labels(), owner), size), owner)


def told_apart(known: Tensor, unknown: Tensor, rate: float) -> dict[str, float]:
    """Return how well unknown inputs [m] are told from known ones [n] by how unknown they are, in percent.

    Returns:
        `auroc`, and the shares that are rejected if `rate` of known inputs may be: `known_rejected`,
        `unknown_rejected`.
    """
    rejected = [100 * float((values > 1 - rate).double().mean()) for values in (known, unknown)]
    return {"auroc": 100 * auroc(known, unknown), "known_rejected": rejected[0], "unknown_rejected": rejected[1]}


def auroc(known: Tensor, unknown: Tensor) -> float:
    """Return the area under the ROC curve of how unknown inputs are: of known ones [n], and of unknown ones [m].

    It is the probability that an unknown input has the larger value than a known one; of equal values half counts.
    """
    ordered = known.double().sort().values
    less, not_more = (torch.searchsorted(ordered, unknown.double(), right=right) for right in (False, True))
    return float((less + not_more).double().mean()) / 2 / len(known)
