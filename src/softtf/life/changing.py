"""How a classifier's tasks change: they are removed, reordered, extended, renamed, forgotten in part, and merged."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from softtf.config.arguments import checked
from softtf.config.dotted import first_difference
from softtf.config.tree import to_dict
from softtf.errors import UserError
from softtf.inference.held_out import held_out, keep_accuracy
from softtf.learners import changes
from softtf.learners.class_table import ClassTable
from softtf.learners.extending import Extending
from softtf.learners.knowledge import Finished
from softtf.life.describing import short
from softtf.life.sending import Sending, Task
from softtf.streams import examples_from
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training, check_training
from softtf.training.loop import TaskCallback, learn_task
from softtf.training.progress import TaskProgress
from softtf.training.task import EpochReport


class Living(Sending):
    """A predictor whose tasks can be added and removed.

    Each change is made completely or not at all, like `learn`, and is refused while a task is learned. Until it is made
    other threads see what was known before. The parts of other tasks keep the same bytes. If the method keeps its sums
    by task, the result is, bit for bit, the learner that never saw what was removed (docs/learners-life.md).
    """

    train_config: TrainConfig

    @checked
    def remove_task(self, task: Task, *, leave_traces: bool = False) -> list[str]:
        """Take a task out: its parameters, columns, sums and statistics.

        Args:
            task: its number, from 0, or its name. Later tasks move up.
            leave_traces: continue even if parameters of other tasks were trained on the task's data too.

        Returns:
            in words, what still holds something of its data; empty if the method keeps everything by task.

        Raises:
            UserError: there is no such task; traces would be left; or the method keeps all tasks in one.
        """

        def kept(classes: ClassTable) -> list[int]:
            gone = classes.task_number(task)
            return [other for other in range(len(classes.tasks)) if other != gone]

        return self._change(lambda known: changes.keep_tasks(known, kept(known.classes), leave_traces))

    @checked
    def extend(
        self,
        task: Task,
        train: Any,
        *,
        test: Any = None,
        config: TrainConfig | None = None,
        progress: bool = True,
        callbacks: Sequence[TaskCallback] = (),
    ) -> list[EpochReport]:
        """Teach a task more examples of its classes; what else is each task's own stays the same bytes.

        A solved method adds them to the task's sums: with `block-ridge` it is, bit for bit, the learner that saw all
        of the task's examples at once. Otherwise the task's own parameters are trained on, on these examples alone,
        from where they are; what tasks share is trained too, as by `learn`.

        Args:
            task: its number, from 0, or its name.
            train: as for `learn`; with parameters to train, examples of each of the task's classes.
            test: as for `learn`, of any of the task's classes; without it the task's accuracy is unknown afterwards.
            config: other training settings.
            progress: show it live.
            callbacks: as for `learn`.

        Returns:
            one report per epoch.

        Raises:
            UserError: there is no such task; an example is of none of its classes, or a class has none; the method
                keeps all tasks in one, or not what was trained; or a task is being learned.
            TrainingError: a loss was not finite.
        """

        def extended() -> tuple[Finished, list[EpochReport]]:
            known = self.knowledge.finished
            number = known.classes.task_number(task)
            name = known.classes.names[number]
            examples = examples_from(train, f"more of {name}")
            check_training(config, self.header.learner, known.learner)
            tests = held_out(test, name, known.classes.tasks[number], known.learner.network.backbone)
            more, settings = Extending.of(known, number, examples), config or self.train_config
            training = begin_training(more.learner, more.classes, more.examples, name, settings, self.store, more.start)
            reports = learn_task(training, (*callbacks, *([TaskProgress(name)] if progress else [])))
            ended = more.ended()
            keep_accuracy(ended, number, tests, self.inference, self.dtype)
            return ended, reports

        return self.knowledge.put(extended)

    @checked
    def keep(self, tasks: Sequence[Task], *, leave_traces: bool = False) -> list[str]:
        """Keep some tasks, in the order given, and take out the others; naming all of them changes their order.

        Without any task nothing is left, also of what tasks share: it is the learner before its first task.
        `leave_traces`, the returned list and the errors are as for `remove_task`.
        """

        def kept(classes: ClassTable) -> list[int]:
            return [classes.task_number(task) for task in tasks]

        return self._change(lambda known: changes.keep_tasks(known, kept(known.classes), leave_traces))

    @checked
    def forget(self, labels: Sequence[Hashable], *, leave_traces: bool = False) -> list[str]:
        """Forget classes: their columns and sums; a task left without classes is removed.

        What a task trained on several classes together, such as its masks, is a trace of each of them. `leave_traces`,
        the returned list and the errors are as for `remove_task`.
        """
        return self._change(lambda known: changes.forget_labels(known, list(labels), leave_traces))

    @checked
    def rename(
        self, labels: Mapping[Hashable, Hashable] | None = None, *, tasks: Mapping[Task, str] | None = None
    ) -> None:
        """Rename classes (old label -> new label) and tasks (task -> new name). No tensor changes.

        Raises:
            UserError: a label or a task is not known, or two classes would have the same name.
        """

        def named(known: Finished) -> changes.Changed:
            numbers = {known.classes.task_number(task): name for task, name in (tasks or {}).items()}
            return changes.renamed(known, labels or {}, numbers), []

        self._change(named)

    @checked
    def merge(self, other: "Living") -> None:
        """Append the tasks of another classifier with the same backbone, method and seed, learned separately.

        The result is the learner that learned these tasks and then the other's; with sums by task, bit for bit. A task
        that both have with the same bytes, because both continue one saved learner, is kept once.

        Raises:
            UserError: backbone, method or seed differ; both know a label (rename it in one of them, or build both with
                repeated_classes='allow' if it means the same); or each learner trained shared parameters in its own
                way.
        """
        for name in self.header.differing(other.header):
            mine, its = to_dict(self.header)[name], to_dict(other.header)[name]
            words = {"backbone_sha256": "backbone", "learner": "method"}.get(name, name)
            where, mine, its = first_difference(mine, its, name)
            raise UserError(
                f"learners of another {words} cannot be merged ({where}: {short(mine)} and {short(its)}); learn one of"
                " them again with the other's"
            )
        self._change(lambda known: (changes.merged(known, other.knowledge.finished), []))

    def _change(self, make: Callable[[Finished], changes.Changed]) -> list[str]:
        def changed() -> changes.Changed:
            found, left = make(self.knowledge.finished)
            return found if found.classes.tasks else self._new(found), left

        return self.knowledge.put(changed)

    def _new(self, empty: Finished) -> Finished:
        """Return a learner that has learned nothing, in place of one whose tasks are all gone."""
        backbone = empty.learner.network.backbone
        learner = self.header.learner.new_learner(backbone, self.header.seed)
        return Finished(learner.to(next(backbone.parameters()).device).face(), empty.classes)
