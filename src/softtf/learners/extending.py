"""More examples of a task that was learned: its sums add up, and its parameters are trained on from where they are."""

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from softtf.errors import UserError
from softtf.learners.base import Learner
from softtf.learners.class_table import ClassTable, Record
from softtf.learners.closed_form import ClosedFormLearner
from softtf.learners.knowledge import Finished
from softtf.learners.parts import Part, chosen, parts_of
from softtf.learners.shares import TaskShares
from softtf.statistics import Share
from softtf.streams import Examples


@dataclass(frozen=True)
class Extending:
    """A task that learns more examples: the learner learns them as its newest task, which then takes the task's place.

    A solved method learns them beside the task, and the shares of both become one. Otherwise the task is taken out and
    trained again behind the others, from its own parameters; its shares become one with the new ones too.

    Attributes:
        part: the task as it was.
        number: its place, from 0.
        learner: learns the examples; it is a copy of the learner that is known, or made of its parts.
        classes: of the learner.
        examples: of the task's classes, in the order of its columns.
        start: the parameters that training starts from; None where nothing is trained.
        allow_repeated: whether tasks may share labels afterwards.
    """

    part: Part
    number: int
    learner: Learner
    classes: ClassTable
    examples: Examples
    start: dict[str, Tensor] | None
    allow_repeated: bool

    @classmethod
    def of(cls, finished: Finished, number: int, examples: Examples) -> Self:
        """Return what learns more examples of task `number`.

        Raises:
            UserError: an example is of no class of the task; a class has no examples and the task is trained; or the
                task's sums or memory are kept in one with others'.
        """
        learner, part = finished.learner, parts_of(finished)[number]
        allowed = finished.classes.allow_repeated
        examples = _checked(part, examples)
        if len(learner.shares.covered(number)) > 1:
            raise UserError(f"the sums of task {part.name!r} are kept in one with others' (sums='one')")
        if isinstance(learner, ClosedFormLearner):
            classes = deepcopy(finished.classes)
            classes.allow_repeated = True  # as long as the examples are a task of their own
            return cls(part, number, learner.face(), classes, examples, None, allowed)
        if missing := [label for label in part.classes if label not in examples.classes]:
            raise UserError(
                f"there are no examples of {missing[0]!r}, which further training of task {part.name!r} would forget;"
                " add some (earlier ones will do), or learn the examples as a task of their own"
                " (repeated_classes='allow')"
            )
        others = chosen(finished, [t for t in range(len(finished.classes.tasks)) if t != number])
        return cls(part, number, others.learner, others.classes, examples, dict(part.state), allowed)

    def ended(self) -> Finished:
        """Return the learner with the examples in the task's own part, in its place, once they were learned."""
        learner, classes, last = self.learner, self.classes, len(self.classes.tasks) - 1
        place = self.number if self.start is None else last
        shares = self._shares(learner.shares.tasks[last])
        learner.shares = learner.shares.with_task(place, shares)
        classes.records[place] = self._record(classes.records[last])
        order = [t for t in range(last) if t != place]
        order.insert(self.number, place)
        classes.allow_repeated = self.allow_repeated
        return chosen(Finished(learner, classes), order)

    def _shares(self, new: TaskShares) -> TaskShares:
        """Return the task's shares with the new ones added."""
        columns = torch.arange(len(self.part.classes))
        more = torch.tensor([self.part.classes.index(label) for label in self.examples.classes])
        return {
            owner: self.learner.share_joined(owner, Share(share, columns), Share(new[owner], more))
            for owner, share in self.part.shares.items()
        }

    def _record(self, new: Record) -> Record:
        """Return the task's record with the time of the newest examples, and the counts of all."""
        counts, record = Counter(self.examples.labels), self.part.record
        before = record.examples
        after = before and tuple(n + counts[c] for n, c in zip(before, self.part.classes, strict=True))
        place = min(record.place, new.place)  # 0 if no other task is left: then it trains what the first one trains
        return replace(record, learned=new.learned, examples=after, accuracy=None, tested=None, place=place)


def _checked(part: Part, examples: Examples) -> Examples:
    """Return examples in the order of a task's classes; refuse other classes than its own."""
    if strange := [label for label in examples.classes if label not in part.classes]:
        known = ", ".join(map(repr, part.classes[:5])) + (", ..." if len(part.classes) > 5 else "")
        raise UserError(
            f"{examples.name}: {strange[0]!r} is no class of task {part.name!r}, which has {known}; new classes are a"
            " task of their own: call learn"
        )
    return examples.with_labels(examples.labels, part.classes)
