"""Start the training of a task; say which settings of training a method reads."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields

from torch import Tensor

from softtf.backbones.feature_store import FeatureStore
from softtf.devices.memory import needs_memory
from softtf.errors import OutOfMemoryError, UserError
from softtf.learners import ClosedFormLearner, Learner, LearnerSpec
from softtf.learners.class_table import ClassTable, Record
from softtf.learners.descent import begun
from softtf.learners.task_data import TaskData
from softtf.streams import Examples
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
    start: Mapping[str, Tensor] | None = None,
) -> TaskTraining:
    """Open a new task for `examples` in the learner and the class table, and return its training.

    Args:
        learner: the learner; it continues in a copy of its state (`Learner.go_on`).
        classes: the table of all classes.
        examples: the task's data.
        name: what to call it.
        config: how to train.
        store: where queries are kept that are equal in all epochs; None for memory only.
        start: parameters of a finished task to start from (`LearnerState.start_from`); None: new ones.

    Raises:
        UserError: a class was learned before, and that is not allowed; or a label does not fit the learner.
        TrainingError: there is not enough memory (an OutOfMemoryError), or an earlier version's statistics.
    """
    learner.go_on()
    counts = Counter(examples.labels)
    record = Record.now([counts[label] for label in examples.classes])
    classes.add(examples.classes, name, begun(learner, classes, examples.classes, name, record))
    data = TaskData(examples, classes, learner.network.backbone, config.batch_size, config.augment, store)
    learner.begin_task(data)
    if start is not None:
        learner.start_from(start)
    if isinstance(learner, ClosedFormLearner) and not learner.takes_steps:
        return ClosedFormTraining(learner, data, config)
    return GradientTraining(learner, data, config)


def check_training(train: TrainConfig | None, spec: LearnerSpec, learner: Learner) -> None:
    """Refuse settings that a method does not read; None stands for its own.

    Raises:
        UserError: naming the settings, and those that it reads.
    """
    if train is None:
        return
    if not isinstance(train, TrainConfig):
        raise UserError(f"training settings must be a TrainConfig, not {train!r}")
    usual = TrainConfig(), TrainConfig(**spec.training)  # whoever has these values has asked for nothing
    if unread := [n for n in unread_by(spec) if getattr(train, n) not in [getattr(u, n) for u in usual]]:
        asked, read = (", ".join(f"train.{name}" for name in names) for names in (unread, spec.reads or ()))
        raise UserError(f"{spec.kind} does not read {asked}; leave out what it does not read. It reads {read}")
    if train.clean_query and learner.query_use != "matching":
        raise UserError(f"train.clean_query: {spec.kind} matches no query, so it does not read this; leave it out")
    if train.compile and not learner.network.backbone.compiles:
        name = learner.network.backbone.name
        raise UserError(f"train.compile: backbone {name!r} is not compiled, only plain ViTs of timm are; leave it out")


def unread_by(spec: LearnerSpec) -> list[str]:
    """Return the settings of `TrainConfig` that a method does not read."""
    return [] if spec.reads is None else [f.name for f in fields(TrainConfig) if f.name not in spec.reads]
