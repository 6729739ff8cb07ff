"""The life of a classifier: tasks are parts that can be taken out, put in, renamed, told apart and accounted for."""

from collections.abc import Callable, Hashable, Mapping, Sequence

from softtf.devices.torch_state import with_own_settings
from softtf.errors import UserError
from softtf.inference.predictor import Predictor
from softtf.learners import changes
from softtf.learners.accounts import Description, Held, audit, describe, differences
from softtf.learners.class_table import ClassTable
from softtf.learners.knowledge import Finished
from softtf.saving.header import Header

Task = int | str
"""A task by its number, from 0, or by its name."""


class Living(Predictor):
    """A predictor whose tasks come and go.

    Each change is made whole or not at all, as `learn` is, and is refused while a task is learned; other threads have
    what was known before until it is made. The parts of the other tasks keep the same bytes. Where the method's sums
    are kept by task, the result is, bit for bit, the learner that never saw what is gone (docs/learners-life.md).
    """

    header: Header

    def remove_task(self, task: Task, *, leave_traces: bool = False) -> list[str]:
        """Take a task out: its parameters, columns, sums and statistics.

        Args:
            task: its number, from 0, or its name. Later tasks move up.
            leave_traces: whether to go on if parameters of others were trained on the task's data too.

        Returns:
            in words, what still holds something of its data; nothing, where the method keeps all by task.

        Raises:
            UserError: there is no such task; traces would be left; or the method keeps all tasks in one.
        """

        def kept(classes: ClassTable) -> list[int]:
            gone = classes.task_number(task)
            return [other for other in range(len(classes.tasks)) if other != gone]

        return self._change(lambda known: changes.keep_tasks(known, kept(known.classes), leave_traces))

    def keep(self, tasks: Sequence[Task], *, leave_traces: bool = False) -> list[str]:
        """Keep some tasks, in the order given, and take the others out; all of them in another order reorder.

        `leave_traces`, the list returned and the errors are as for `remove_task`.
        """

        def kept(classes: ClassTable) -> list[int]:
            return [classes.task_number(task) for task in tasks]

        return self._change(lambda known: changes.keep_tasks(known, kept(known.classes), leave_traces))

    def forget(self, labels: Sequence[Hashable], *, leave_traces: bool = False) -> list[str]:
        """Forget classes: their columns and sums; tasks of no other classes go whole.

        What a task learned of several classes together, such as its masks, is a trace of each of them. `leave_traces`,
        the list returned and the errors are as for `remove_task`.
        """
        if isinstance(labels, str):
            raise UserError(f"labels must be a list; write labels=[{labels!r}]")
        return self._change(lambda known: changes.forget_labels(known, list(labels), leave_traces))

    def rename(
        self, labels: Mapping[Hashable, Hashable] | None = None, *, tasks: Mapping[Task, str] | None = None
    ) -> None:
        """Give classes and tasks other names: old label -> new label, task -> new name. No tensor changes.

        Raises:
            UserError: a label or a task is not known, or two classes would have one name.
        """

        def named(known: Finished) -> changes.Changed:
            numbers = {known.classes.task_number(task): name for task, name in (tasks or {}).items()}
            return changes.renamed(known, labels or {}, numbers), []

        self._change(named)

    def merge(self, other: "Living") -> None:
        """Add the tasks of another classifier of the same backbone, method and seed, learned apart, behind one's own.

        It is the learner that learned one's tasks and then the other's: with sums by task, bit for bit. A task that
        both have with the same bytes, because both go on from one saved learner, is there once.

        Raises:
            UserError: backbone, method or seed differ; both know a label (rename it in one of them, or build with
                repeated_classes='allow' if it means the same); or what tasks share was trained by each in its own way.
        """
        for name, words in {"backbone_sha256": "backbone", "learner": "method", "seed": "seed"}.items():
            if getattr(self.header, name) != getattr(other.header, name):
                raise UserError(
                    f"learners of another {words} cannot be merged:"
                    f" {_short(getattr(self.header, name))} and {_short(getattr(other.header, name))}"
                )
        self._change(lambda known: (changes.merged(known, other.knowledge.finished), []))

    @with_own_settings
    def describe(self) -> Description:
        """Return what is known: tasks, classes, dates, examples, parameters, bytes, method, backbone and a hash."""
        spec = self.header.backbone
        return describe(self.knowledge.finished, self.header.learner.kind, spec.name, self.header.backbone_sha256)

    @with_own_settings
    def audit(self) -> list[Held]:
        """Return all that is stored and was derived from training data, and from which tasks' data."""
        held = audit(self.knowledge.finished)
        if self.store is not None:
            words = "features of the frozen backbone of images that were learned or asked about (feature_cache)"
            held.append(Held(str(self.store.folder), words, (), 0))
        return held

    @with_own_settings
    def diff(self, other: "Living") -> list[str]:
        """Return in words how another classifier differs from this one; nothing if they answer alike, bit for bit."""
        found = [
            f"{name}: {_short(getattr(self.header, name))} and {_short(getattr(other.header, name))}"
            for name in ("backbone_sha256", "learner", "seed")
            if getattr(self.header, name) != getattr(other.header, name)
        ]
        return found + differences(self.knowledge.finished, other.knowledge.finished)

    def _change(self, make: Callable[[Finished], changes.Changed]) -> list[str]:
        return self.knowledge.put(lambda: make(self.knowledge.finished))


def _short(value: object) -> str:
    return str(value)[:60]
