"""The settings of a run: one frozen tree, written as YAML, from which the run can be repeated."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from softtf.backbones.load import BackboneSpec
from softtf.config.bounds import BatchSize, Blur, Count
from softtf.config.tree import Settings
from softtf.devices.device import Precision
from softtf.errors import UserError
from softtf.evaluation.evaluate import BATCH_SIZE
from softtf.inference import INFERENCES, policies_of
from softtf.inference.policy import Policy, parse_policy, policy_of, usual_policy
from softtf.learners.base import Learner
from softtf.learners.block_ridge import SoftTF
from softtf.learners.spec import BEFORE_STATISTICS, LearnerSpec
from softtf.recipes.methods import DEFAULT
from softtf.streams import (
    HUB,
    Examples,
    Say,
    TaskStream,
    blurred,
    from_datasets,
    load_sets,
    load_source,
    located,
    quiet,
    split_by_class,
    split_by_task,
)
from softtf.training.config import TrainConfig

ELSEWHERE = ("recipe", "method", "seed", "device", "feature_cache", "track")
"""Settings that make no other run: what it is called, its seed, and where it is computed."""


@dataclass(frozen=True)
class StreamConfig(Settings):
    """The data, and how they are split into tasks.

    Attributes:
        source: `digits`, a known data set's name (`softtf list`), a folder of parquet or image files, a file of texts,
            or a Hub name; with datasets, the folder that holds them, or `hub`. Wildcards in a path have no meaning. A
            recipe for your own data has no source.
        num_tasks: the number of tasks among which the classes are split; with task_column, how many tasks are learned;
            with datasets, their number, or 1 for all at once (joint training). None: all tasks that the data name;
            without names five, or fewer so that each has two classes.
        task_column: a column with the task of each row; then classes are not split. The tasks come in the order of the
            file.
        split_train: the split to learn from; `all` takes every parquet file of a folder and holds a fifth out.
        split_test: the split to test on; both are found by their usual names in any case (Train, testing, val).
        train_per_class: the most training examples per class; None is all.
        test_per_class: the most test examples per class; None is all.
        subset_seed: the seed that chooses these examples.
        class_order_seed: the seed that shuffles the classes before they are split; None keeps their order.
        blurry: the share of each class's training examples that are dealt to other tasks (by subset_seed), so that
            classes come back; with num_tasks only.
        image_column: the column of the images or texts; None finds it by its name. `a+b` joins two columns of texts.
        label_column: the column of the labels; None finds it by its name.
        datasets: data sets that are one task each, in this order; then classes are not split.
        train_per_dataset: with datasets, the most training examples of each, equally many per class; a remainder goes
            to the first classes.
        test_per_dataset: the same for test examples; the accuracy over all samples is then the mean over data sets.
        merge_labels: treat a label of several tasks as one class: with task_column, any such label; with datasets, only
            labels of data sets that share all their labels. Otherwise such labels are kept apart, or refused.
    """

    source: str | None = "digits"
    num_tasks: Count | None = None
    task_column: str | None = None
    split_train: str = "train"
    split_test: str = "test"
    train_per_class: Count | None = None
    test_per_class: Count | None = None
    subset_seed: int = 0
    class_order_seed: int | None = None
    blurry: Blur = 0.0
    image_column: str | None = None
    label_column: str | None = None
    datasets: tuple[str, ...] = ()
    train_per_dataset: Count | None = None
    test_per_dataset: Count | None = None
    merge_labels: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task_column is not None and self.class_order_seed is not None:
            raise UserError("class_order_seed shuffles classes between tasks, which task_column fixes; leave one out")
        if self.task_column is not None and self.blurry:
            raise UserError("blurry deals examples to other tasks than task_column says; leave one out")
        if self.datasets:
            self._check_datasets()

    def _check_datasets(self) -> None:
        for name in ("task_column", "class_order_seed", "blurry", "image_column", "label_column"):
            if getattr(self, name) not in (None, 0.0):
                raise UserError(f"{name} does not go with datasets, each of which is a task; leave one out")
        if self.num_tasks not in (None, 1, len(self.datasets)):
            raise UserError(
                f"num_tasks must be the number of datasets, {len(self.datasets)}, or 1 for all at once, not"
                f" {self.num_tasks}"
            )

    @property
    def labels_protocol(self) -> str:
        """What table headers say about labels that several tasks have; empty where that cannot be."""
        if self.blurry:
            return f"{100 * self.blurry:g}% of each class's training examples in other tasks"
        if self.merge_labels and (self.datasets or self.task_column):
            return "labels that tasks have in common merged"
        return "labels of every data set apart" if self.datasets else ""

    @property
    def shares_labels(self) -> bool:
        """Whether a label may belong to several tasks."""
        return self.merge_labels or self.blurry > 0

    @property
    def is_dealt(self) -> bool:
        """Whether the classes are dealt to as many tasks as they fill."""
        return self.num_tasks is None and self.task_column is None and not self.datasets

    @property
    def given(self) -> str:
        """The source.

        Raises:
            UserError: the recipe is one for the user's own data, and none are given.
        """
        if self.source is None:
            raise UserError("this recipe learns your own data: give --stream.source FOLDER, or a file of rows")
        return self.source

    def located(self) -> "StreamConfig":
        """Return the settings with a source that means the same data in any working directory."""
        return self if self.datasets and self.source == HUB else replace(self, source=located(self.given))

    def build(self, say: Say = quiet) -> TaskStream:
        """Load the data and split them by class, or by the tasks that they name.

        `say` gets notes: which part of the data became which split, what is held out for testing and what is skipped.

        Raises:
            UserError: the source cannot be read, or has fewer classes than tasks; or a setting would do nothing.
        """
        for name in ("train", "test"):
            if getattr(self, f"{name}_per_dataset") is not None and not self.datasets:
                raise UserError(f"{name}_per_dataset goes with datasets; without them give {name}_per_class")
        name = Path(self.given).name or self.given  # a folder's place on this machine is private
        if self.datasets:
            return self._of_datasets("+".join(self.datasets), say)
        train, test = load_source(
            self.given,
            self.split_train,
            self.split_test,
            self.image_column,
            self.label_column,
            self.task_column,
            say,
        )
        train, test = self._some(train, test)
        if self.task_column is not None:
            return split_by_task(train, test, self.num_tasks, name)
        stream = split_by_class(train, test, self.num_tasks, self.class_order_seed, name)
        return blurred(stream, self.blurry, self.subset_seed) if self.blurry else stream

    def fewer_rows(self, stream: TaskStream) -> list[str]:
        """Return a line for each data set that has fewer rows than the settings ask for."""
        said = []
        for task in stream if len(stream) == len(self.datasets) else ():
            parts = (("training", task.train, self.train_per_dataset), ("test", task.test, self.test_per_dataset))
            for part, found, asked in parts:
                if asked is not None and found is not None and len(found) < asked:
                    said.append(f"{task.name} has {len(found):,} {part} rows, not {asked:,}")
        return said

    def _of_datasets(self, name: str, say: Say) -> TaskStream:
        """Return a stream with one task for each data set, or one for all of them."""
        found = load_sets(self.datasets, self.given, self.merge_labels, self.split_train, self.split_test, say)
        sets = {key: self._some(*pair) for key, pair in found.items()}
        if self.num_tasks != 1 or len(sets) == 1:
            return from_datasets(sets, name)
        tests = [test for _, test in sets.values() if test is not None]
        train = Examples.concatenate([train for train, _ in sets.values()])
        return from_datasets({"all at once": (train, Examples.concatenate(tests) if tests else None)}, name)

    def _some(self, train: Examples, test: Examples | None) -> tuple[Examples, Examples | None]:
        """Return as much of a data set as the settings ask for."""
        seed = self.subset_seed
        train = train.per_class(self.train_per_class, seed).evenly(self.train_per_dataset, seed)
        if test is not None:
            test = test.per_class(self.test_per_class, seed).evenly(self.test_per_dataset, seed)
        return train, test


@dataclass(frozen=True)
class EvaluateConfig(Settings):
    """How a learner is scored after each task.

    Attributes:
        policies: policies such as `prompt-id`, `gradient-id:batch24`, `gradient-id:3-shot:own`, `oracle`. Without it,
            the learner's usual task inferences, per sample, and the oracle. If a learner's answer needs no task, a task
            inference can only restrict it to the inferred task's classes (`:own`).
        shuffle: shuffle the test samples across tasks.
        batch_size: samples that are run at once; changes no per-sample answer.
        precision: precision of matrix products; with float32, answers do not depend on the batch.
    """

    policies: tuple[str, ...] = ()
    shuffle: bool = False
    batch_size: BatchSize = BATCH_SIZE
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        for policy in self.policies:
            parse_policy(policy)

    def policies_for(self, learner: Learner) -> list[Policy]:
        """Return the policies to score this learner under.

        Raises:
            UserError: the learner does not support one.
        """
        supported = policies_of(learner)
        if not self.policies:
            usual = [name for name in supported if INFERENCES[name].by_default]
            named = [parse_policy(usual_policy([name, *supported])) for name in usual]
            return list(dict.fromkeys([*named, Policy("oracle")]))
        return list(dict.fromkeys(policy_of(text, learner) for text in self.policies))


@dataclass(frozen=True)
class RunConfig(Settings):
    """A whole run: a stream learned by one method on one backbone, scored after each task.

    Attributes:
        recipe: the recipe it came from.
        method: the method's name, for tables.
        stream: the data.
        backbone: the frozen transformer.
        learner: the method.
        train: how each task is trained.
        evaluate: how the learner is scored.
        seed: the seed of all random numbers.
        device: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto`, the machine's accelerator if it has one.
        feature_cache: the folder in which runs share the frozen backbone's features; None is $SOFTTF_CACHE or, without
            it, ~/.cache/softtf/features; `off`, or --no-cache on the command line, keeps none on disk.
        track: trackers that also get the numbers while it runs (`softtf list trackers`; needs softtf[tracking]).
    """

    recipe: Annotated[str, tyro.conf.Fixed, tyro.conf.arg(name="of-recipe")] = "quickstart"  # the command has --method
    method: Annotated[str, tyro.conf.Fixed, tyro.conf.arg(name="of-method")] = DEFAULT
    stream: StreamConfig = StreamConfig()
    backbone: BackboneSpec = BackboneSpec()
    learner: LearnerSpec = SoftTF()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    seed: Annotated[int, tyro.conf.Fixed, tyro.conf.arg(name="of-seed")] = (
        0  # the command has --seed, of one or several
    )
    device: str = "auto"
    feature_cache: str | None = None
    track: tuple[str, ...] = ()

    def located(self) -> "RunConfig":
        """Return the same run with full paths of what it reads."""
        return replace(self, stream=self.stream.located(), backbone=self.backbone.located())

    @classmethod
    def of_earlier(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings with a tracker for what was a switch, `tensorboard`, and a learner's statistics told."""
        settings = dict(settings)
        if isinstance(settings.get("learner"), dict):
            settings["learner"] = {**BEFORE_STATISTICS, **settings["learner"]}
        if settings.get("tensorboard") in (True, False):
            settings |= {"track": ["tensorboard"]} if settings.pop("tensorboard") else {}
        return settings
