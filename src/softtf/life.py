"""The life of a classifier: its tasks can be taken out, put in, renamed, compared and accounted for."""

import tempfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from softtf.config.arguments import checked
from softtf.config.bounds import Natural
from softtf.config.tree import check_value
from softtf.devices.torch_state import with_own_settings
from softtf.errors import UserError
from softtf.inference.explaining import Explaining
from softtf.inference.policy import policy_of
from softtf.learners import changes
from softtf.learners.accounts import Description, Held, audit, describe, differences
from softtf.learners.class_table import ClassTable
from softtf.learners.extending import Extending
from softtf.learners.knowledge import Finished
from softtf.saving.card import CARD, Measured, card_text, write_card
from softtf.saving.header import Header
from softtf.saving.hub import check_name, earlier_card, upload
from softtf.saving.learner import save_learner
from softtf.screen import warn
from softtf.streams import examples_from
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training, check_training
from softtf.training.loop import TaskCallback, learn_task
from softtf.training.progress import TaskProgress
from softtf.training.task import EpochReport

Task = int | str
"""A task by its number, from 0, or by its name."""


class Living(Explaining):
    """A predictor whose tasks can be added and removed.

    Each change is made completely or not at all, like `learn`, and is refused while a task is learned. Until it is made
    other threads see what was known before. The parts of other tasks keep the same bytes. If the method keeps its sums
    by task, the result is, bit for bit, the learner that never saw what was removed (docs/learners-life.md).
    """

    header: Header
    train_config: TrainConfig
    saved_as: frozenset[str] = frozenset()  # the versions on disk that it comes from

    @with_own_settings
    @checked
    def save_pretrained(
        self, folder: str | Path, *, replace: bool = False, sign: bytes | None = None, keep_versions: int = 0
    ) -> None:
        """Save to a folder: a header with the settings, one safetensors file per task, and the hashes of all files.

        `from_pretrained` restores the whole classifier except `device` and `feature_cache`, which are not saved.

        Args:
            folder: a new or empty folder, or one with what a killed save left.
            replace: allow a folder that holds a learner. It is replaced in one step: after a crash the folder holds the
                old one or the new one, and a process that loads it meanwhile gets one of them. Task files with the same
                content stay, as do other files. A warning says what is replaced, unless it is an earlier version of
                this learner.
            sign: a secret key of at least 16 bytes; `from_pretrained(folder, verify=key)` then refuses files that were
                changed without the key (HMAC-SHA256 over the hashes).
            keep_versions: how many earlier versions stay in the folder with `replace` (`softtf.saving.earlier`). 0
                keeps none, so that what was removed from the learner is gone from the disk too.

        Raises:
            UserError: the folder holds something else, another process is saving there, or the disk is full (no
                half-written learner is left).
        """
        keep, known = check_value(Natural, keep_versions, "keep_versions"), self.saved_as
        saved = save_learner(Path(folder), self.header, *self.knowledge.finished, replace, sign, warn, known, keep)
        self.saved_as = known | {saved}

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
            more, settings = Extending.of(known, number, examples), config or self.train_config
            training = begin_training(more.learner, more.classes, more.examples, name, settings, self.store, more.start)
            reports = learn_task(training, (*callbacks, *([TaskProgress(name)] if progress else [])))
            return more.ended(), reports

        return self.knowledge.put(extended)

    @checked
    def keep(self, tasks: Sequence[Task], *, leave_traces: bool = False) -> list[str]:
        """Keep some tasks, in the order given, and take out the others; naming all of them changes their order.

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
        for name, words in {"backbone_sha256": "backbone", "learner": "method", "seed": "seed"}.items():
            if getattr(self.header, name) != getattr(other.header, name):
                raise UserError(
                    f"learners of another {words} cannot be merged:"
                    f" {_short(getattr(self.header, name))} and {_short(getattr(other.header, name))}"
                )
        self._change(lambda known: (changes.merged(known, other.knowledge.finished), []))

    def __repr__(self) -> str:
        kind, backbone = self.header.learner.kind, self.header.backbone.name
        known = f"{self.num_tasks} tasks, {len(self.labels)} classes"
        return f"{type(self).__name__}({kind} on {backbone}: {known}; answers by {self.inference.code})"

    def summary(self) -> str:
        """Return `describe()` in lines, as softtf learner describe prints it."""
        return self.describe().text()

    @with_own_settings
    def describe(self) -> Description:
        """Return what is known: tasks, classes, dates, examples, parameters, bytes, method, backbone and a hash."""
        spec = self.header.backbone
        return describe(self.knowledge.finished, self.header.learner.kind, spec.name, self.header.backbone_sha256)

    @with_own_settings
    def audit(self) -> list[Held]:
        """Return everything that is stored and came from training data, and the tasks that it came from."""
        held = audit(self.knowledge.finished)
        if self.store is not None:
            words = "features of the frozen backbone of images that were learned or asked about (feature_cache)"
            held.append(Held(str(self.store.folder), words, (), 0))
        return held

    @with_own_settings
    @checked
    def diff(self, other: "Living") -> list[str]:
        """Return, in words, how another classifier differs; empty if both answer alike, bit for bit."""
        found = [
            f"{name}: {_short(getattr(self.header, name))} and {_short(getattr(other.header, name))}"
            for name in ("backbone_sha256", "learner", "seed")
            if getattr(self.header, name) != getattr(other.header, name)
        ]
        return found + differences(self.knowledge.finished, other.knowledge.finished)

    @with_own_settings
    def card(self, measured: Measured | None = None) -> str:
        """Return the model card, in Markdown, that stands in a saved learner's README.md.

        Args:
            measured: results on test sets, to be shown in it.
        """
        return card_text(self.header, self.knowledge.finished, measured)

    @with_own_settings
    def export(
        self,
        folder: str | Path,
        *,
        format: Literal["onnx", "torch"] = "onnx",
        inference: str | None = None,
        task: Task | None = None,
    ) -> dict[str, Any]:
        """Write files that answer like the classifier, to 1e-4, without softtf; what is written is checked first.

        The folder has an `answer.py`, which runs them with NumPy and onnxruntime (docs/ship.md). With `task` it is one
        task's network as a plain model of timm or transformers, with W * m merged, for that task's classes alone.

        Args:
            folder: new or empty.
            format: `onnx` (from softtf[export]) or `torch`, archives of torch.export; not read with `task`.
            inference: another task inference than the classifier's own, per sample, that reads no gradients.
            task: its number, from 0, or its name; None for all.

        Returns:
            what `export.json` in the folder says, with the `largest_difference` of a probability.

        Raises:
            UserError: nothing was learned, the policy or the method cannot be exported, or the folder is not empty.
        """
        from softtf.export.learner import export_learner
        from softtf.export.plain import export_task

        finished = self._finished()
        if task is not None:
            return export_task(Path(folder), finished, finished.classes.task_number(task))
        policy = policy_of(inference, finished.learner) if inference else self.inference
        return export_learner(Path(folder), self.header, finished, policy, format)

    @with_own_settings
    def push_to_hub(
        self,
        name: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        token: str | None = None,
        sign: bytes | None = None,
        measured: Measured | None = None,
    ) -> str:
        """Save to a repository of the Hub, which is made if it is new; `from_pretrained(name)` loads it again.

        Files of an earlier version go, but stay in the repository's history. What a user wrote below softtf's part of
        the card stays.

        Args:
            name: user/name.
            private: whether a new repository is private; None for what the user's account says.
            revision: the branch; it is made if it is new.
            token: the Hub's; None for the one that its client finds (`hf auth login`).
            sign: as for `save_pretrained`.
            measured: as for `card`.

        Returns:
            the commit, to be given to `from_pretrained` as `revision`.

        Raises:
            UserError: the name is none, or the Hub refuses it or cannot be reached.
        """
        check_name(name, revision)
        if path := next(iter(self.header.backbone.paths), None):
            warn(f"the learner names its backbone by a path, {path!r}: who loads it must have it, and give it")
        finished = self.knowledge.finished
        with tempfile.TemporaryDirectory(prefix="softtf-") as temporary:
            folder = Path(temporary) / "learner"
            save_learner(folder, self.header, *finished, sign=sign)
            (folder / CARD).unlink(missing_ok=True)
            earlier_card(name, folder, revision, token)
            write_card(folder, card_text(self.header, finished, measured, name), warn)
            return upload(folder, name, private, revision, token)

    def _change(self, make: Callable[[Finished], changes.Changed]) -> list[str]:
        return self.knowledge.put(lambda: make(self.knowledge.finished))


def _short(value: object) -> str:
    return str(value)[:60]
