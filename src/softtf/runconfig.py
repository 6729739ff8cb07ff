"""What a run is: one frozen tree of settings, written as YAML and run again from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from softtf.backbones.load import BackboneSpec
from softtf.errors import UserError
from softtf.inference import INFERENCES
from softtf.inference.policy import Policy, parse_policy
from softtf.learners.base import Learner, LearnerSpec
from softtf.learners.dual_prompt import DualPrompt
from softtf.machine import Precision
from softtf.streams import TaskStream, load_source, split_by_class, split_by_task
from softtf.training import TrainConfig, check_batch_size


@dataclass(frozen=True)
class StreamConfig:
    """Which data, and how they are split into tasks.

    Attributes:
        source: `digits`, a known data set's name (`softtf list`), a folder of parquet or image files, or a Hub name.
        num_tasks: how many tasks the classes are dealt to; with task_column, how many tasks are learned.
        task_column: a column that says which task each row belongs to; classes are then not dealt out.
        split_train: the split to learn from; `all` takes every parquet file of a folder and holds a fifth out.
        split_test: the split to test on.
        train_per_class: learn from at most so many examples of each class.
        test_per_class: test on at most so many examples of each class.
        subset_seed: which ones they are.
        class_order_seed: shuffle the classes before splitting; None keeps their order.
        image_column: the column of the images, if it is not found by itself.
        label_column: the column of the labels, if it is not found by itself.
    """

    source: str = "digits"
    num_tasks: int = 5
    task_column: str | None = None
    split_train: str = "train"
    split_test: str = "test"
    train_per_class: int | None = None
    test_per_class: int | None = None
    subset_seed: int = 0
    class_order_seed: int | None = None
    image_column: str | None = None
    label_column: str | None = None

    def __post_init__(self) -> None:
        for name in ("num_tasks", "train_per_class", "test_per_class"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, not {value}")
        if self.task_column is not None and self.class_order_seed is not None:
            raise UserError("class_order_seed shuffles classes between tasks, which task_column fixes; leave one out")

    def build(self) -> TaskStream:
        """Load the data and split them by class, or by the tasks that they name.

        Raises:
            UserError: the source cannot be read, or has fewer classes than tasks.
        """
        train, test = load_source(
            self.source, self.split_train, self.split_test, self.image_column, self.label_column, self.task_column
        )
        train = train.per_class(self.train_per_class, self.subset_seed)
        test = test.per_class(self.test_per_class, self.subset_seed) if test is not None else None
        name = Path(self.source).name or self.source  # a folder's place on this machine is nobody else's business
        if self.task_column is not None:
            return split_by_task(train, test, self.num_tasks, name)
        return split_by_class(train, test, self.num_tasks, self.class_order_seed, name)


@dataclass(frozen=True)
class EvaluateConfig:
    """How a learner is scored after each task.

    Attributes:
        policies: such as `prompt-id`, `gradient-id:batch24`, `gradient-id:3-shot:own`, `oracle`;
            none given means the usual task inferences that the learner supports, per sample, and the oracle. Where a
            learner's answer needs no task, naming one can only restrict it to the task's classes (`:own`).
        shuffle: shuffle the test samples across tasks.
        batch_size: samples run at once; changes no per-sample answer.
        precision: of matrix products; float32 keeps answers independent of the batch.
    """

    policies: tuple[str, ...] = ()
    shuffle: bool = False
    batch_size: int = 120
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        check_batch_size(self.batch_size)
        for policy in self.policies:
            parse_policy(policy)

    def policies_for(self, learner: Learner) -> list[Policy]:
        """Return the policies to score this learner under.

        Raises:
            UserError: the learner does not support one.
        """
        supported = learner.policies
        if not self.policies:
            usual = [name for name in supported if name == "none" or INFERENCES[name].by_default]
            named = [Policy(name, own=name != "none" and "none" in supported) for name in usual]
            return [*named, Policy("oracle")]
        chosen = [parse_policy(text) for text in self.policies]
        for policy in chosen:
            if policy.inference not in (*supported, "oracle"):
                raise UserError(
                    f"this learner cannot be scored under policy {policy.code!r};"
                    f" it supports {', '.join(supported)} and oracle"
                )
        return list(dict.fromkeys(chosen))


@dataclass(frozen=True)
class RunConfig:
    """A whole run: a stream learned by one method on one backbone, scored after each task.

    Attributes:
        recipe: the recipe it came from.
        method: the method's name, for tables.
        stream: the data.
        backbone: the frozen transformer.
        learner: the method.
        train: how each task is trained.
        evaluate: how the learner is scored.
        seed: every random number of the run is drawn from it.
        device: `auto` lets accelerate choose; or `cpu`, `cuda`, `cuda:1`, `mps`.
        feature_cache: the folder in which runs share features of the frozen backbone; None is $SOFTTF_CACHE, else
            ~/.cache/softtf/features; `off` keeps them in memory.
        tensorboard: also write TensorBoard events (needs softtf[tracking]).
    """

    recipe: Annotated[str, tyro.conf.Suppress] = "quickstart"
    method: Annotated[str, tyro.conf.Suppress] = "dual-prompt+soft-tf"
    stream: StreamConfig = StreamConfig()
    backbone: BackboneSpec = BackboneSpec()
    learner: LearnerSpec = DualPrompt()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    seed: int = 0
    device: str = "auto"
    feature_cache: str | None = None
    tensorboard: bool = False
