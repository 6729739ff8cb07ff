"""The Python API: a classifier that learns new classes task after task."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import torch

from softtf.backbones.base import Backbone
from softtf.backbones.feature_store import FeatureStore, open_store
from softtf.backbones.kept_features import OFF
from softtf.backbones.load import BackboneSpec, load_backbone, load_named, random_name, spec_of
from softtf.config.arguments import checked
from softtf.devices.device import Precision, find_device, matmul_dtype
from softtf.devices.torch_state import with_own_settings
from softtf.errors import UserError
from softtf.evaluation.evaluate import BATCH_SIZE
from softtf.evaluation.scorer import Scorer
from softtf.evaluation.test_data import TestData
from softtf.inference.held_out import held_out, keep_accuracy
from softtf.inference.policy import Policy, policy_of
from softtf.learners import SoftTF
from softtf.learners.base import Learner
from softtf.learners.class_table import ClassTable
from softtf.learners.knowledge import Finished, Knowledge
from softtf.learners.spec import LearnerSpec
from softtf.life import Living
from softtf.saving.header import Header
from softtf.saving.loading import load_learner
from softtf.saving.manifest import Manifest
from softtf.saving.memory_limit import bytes_of
from softtf.saving.places import located
from softtf.saying import warn
from softtf.streams import examples_from
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training, check_training
from softtf.training.loop import TaskCallback, learn_task
from softtf.training.progress import TaskProgress
from softtf.training.task import EpochReport

Repeated = Literal["refuse", "allow"]


class ContinualClassifier(Living):
    """A frozen backbone and a learner; each `learn` call is one task.

    A task's own parameters (masks, E-prompt, key, head) and sums never change after its training. Shared parameters do,
    such as DualPrompt's G-prompt (unless `freeze_g_after_first`), L2P's pool, or FT's whole network; and heads that are
    solved from the sums of all tasks, such as the default's, are solved anew with each task.

    torch's global settings (default type and device, autocast, inference mode, seeds) change no answer, and softtf does
    not change them.

    Threads may share a classifier, and classifiers may share a backbone on one device. While a task is learned, answers
    come from the tasks finished before, bit for bit. Each call computes in its own precision. A process that is forked
    from one that has computed can compute on one thread only; start it by `spawn`.

    `save_pretrained` keeps all that is given here except `device` and `feature_cache`, which belong to the machine.

    Args:
        backbone: a name (see `softtf list`), a `BackboneSpec`, or a loaded backbone.
        learner: the method, such as `DualPrompt(e_layers="10-12", adapt=SoftMask(layers="10-12"))`. None is `SoftTF()`:
            it has the best answers per sample (docs/results.md), learns a task in one pass, and its answers do not
            depend on the order of the tasks.
        train: epochs, learning rate and so on, for every task; settings that the method does not read are refused.
        seed: the seed of every random number.
        device: `auto`, `cpu`, `cuda`, ...
        repeated_classes: `refuse` a class that an earlier task had, or `allow` tasks to share labels.
        inference: the task inference that answers, such as `prompt-id` or `gradient-id`; per sample unless the name
            says otherwise (`prompt-id:batch24`). None: a method whose answer needs no task uses no inference; any other
            uses `feature-id:top64:joint`, if the learner gathers its statistics, as it does unless it has
            `feature_id=0`.
        precision: of matrix products in prediction; float32 keeps answers independent of the batch.
        feature_cache: a folder in which `learn`, `evaluate` and `features` keep the frozen backbone's features of
            images that they do not augment; runs with the same folder share them. A damaged file is computed again,
            with a warning. None: features are kept in memory, for one call.

    Raises:
        UserError: a name is unknown or a setting does not fit.
    """

    revision: str | None = None  # the commit on the Hub that it was loaded from

    @with_own_settings
    @checked
    def __init__(
        self,
        backbone: str | BackboneSpec | Backbone,
        learner: LearnerSpec | None = None,
        train: TrainConfig | None = None,
        *,
        seed: int = 0,
        device: str = "auto",
        repeated_classes: Repeated = "refuse",
        inference: str | None = None,
        precision: Precision = "float32",
        feature_cache: str | Path | None = None,
    ) -> None:
        place, allow = find_device(device), repeated_classes == "allow"
        if not isinstance(backbone, Backbone):
            backbone = load_backbone(spec_of(backbone), place)
        loaded = backbone.to(place)
        learner = learner or SoftTF()
        built = learner.new_learner(loaded, seed)
        check_training(train, learner, built)
        spec = learner.filled(built)
        header = Header(spec_of(loaded), loaded.weights_hash(), spec, seed, allow, train, inference, precision)
        self._hold(header, built.to(place), ClassTable(allow), _store(header, feature_cache))

    @classmethod
    def of(cls, header: Header, learner: Learner, classes: ClassTable, store: FeatureStore | None = None) -> Self:
        """Return the classifier of a learner that was built or loaded from its header, and is on its device.

        Raises:
            UserError: the learner does not support the header's inference.
        """
        self = cls.__new__(cls)
        self._hold(header, learner, classes, store)
        return self

    def _hold(self, header: Header, learner: Learner, classes: ClassTable, store: FeatureStore | None) -> None:
        """Set the classifier's attributes; every way to make one ends here."""
        self.device: torch.device = next(learner.network.backbone.parameters()).device
        dtype = matmul_dtype(header.precision, self.device)
        super().__init__(Knowledge(learner, classes), header.inference, dtype, store)
        self.train_config = header.train or TrainConfig(**header.learner.training)
        self.header = replace(header, train=self.train_config, inference=self.inference.code)
        self.saved_as, self.revision = frozenset(), None  # here already: a copy may be made while another thread saves

    @property
    def frozen_backbone_unchanged(self) -> bool:
        """Whether the backbone's weights still have the hash that they had at the start."""
        return self.learner.network.backbone.weights_hash() == self.header.backbone_sha256

    @checked
    def learn(
        self,
        train: Any,
        name: str | None = None,
        *,
        test: Any = None,
        config: TrainConfig | None = None,
        progress: bool = True,
        callbacks: Sequence[TaskCallback] = (),
    ) -> list[EpochReport]:
        """Learn one task, completely or not at all: if anything raises, even Ctrl-C, nothing has changed.

        Meanwhile other threads can call everything else: until the task is finished, answers come from the earlier
        tasks. A second `learn` is refused.

        Args:
            train: (inputs, labels), a list of pairs, `Examples`, a DataFrame, a Hub data set, or the path of a folder
                or file of data (docs/data.md). Labels are strings, integers, booleans, finite floats, bytes, or tuples
                of these.
            name: the task's name.
            test: test examples of the task's classes. They are read before the task is trained, and answered once it is
                learned; `describe()` and the model card tell how many were right.
            config: other training settings for this task.
            progress: show the progress.
            callbacks: called in the course of the task, for logs, checkpoints and resuming.

        Returns:
            one report per epoch.

        Raises:
            UserError: wrong or empty data, a class that was learned before, or another task is being learned.
            TrainingError: a loss was not finite.
        """

        def learn(classes: ClassTable) -> list[EpochReport]:
            task = name or f"task {self.num_tasks + 1}"
            examples = examples_from(train, task)
            check_training(config, self.header.learner, self.learner)
            tests = held_out(test, task, examples.classes, self.learner.network.backbone)
            settings = config or self.train_config
            training = begin_training(self.learner, classes, examples, task, settings, self.store)
            reports = learn_task(training, (*callbacks, *([TaskProgress(task)] if progress else [])))
            keep_accuracy(Finished(self.learner.face(), classes), self.num_tasks, tests, self.inference, self.dtype)
            return reports

        return self.knowledge.next_task(learn)

    @with_own_settings
    @checked
    def evaluate(
        self,
        tests: Sequence[Any],
        policies: Sequence[str] | None = None,
        *,
        batch_size: int = BATCH_SIZE,
        progress: bool = True,
    ) -> dict[str, dict[str, float]]:
        """Score the tasks learned so far.

        Args:
            tests: one test set per learned task, in the order of learning, each in a form that `learn` takes.
            policies: such as `prompt-id`, `gradient-id:batch24`, `oracle`; None is the classifier's own and the oracle.
            batch_size: samples that are run at once.
            progress: show the progress, on a terminal or in a notebook.

        Returns:
            for each policy's title: acc, task_identity, pooled accuracy and ece (calibration error), in percent.
        """
        learner, classes = self._finished()
        count = len(classes.tasks)
        if len(tests) != count:
            raise UserError(f"{count} tasks were learned but {len(tests)} test sets given; give one per task")
        examples = [examples_from(test, f"test set {i + 1}", "test") for i, test in enumerate(tests)]
        chosen = [policy_of(p, learner) for p in policies] if policies else [self.inference, Policy("oracle")]
        data = TestData.of(examples, classes, learner.network.backbone, batch_size, self.store)
        scorer = Scorer(data, classes.column_labels(), chosen, batch_size, self.dtype)
        return {
            policy.title(): {"acc": s.acc, "task_identity": s.task_identity, "pooled": s.pooled, "ece": s.ece}
            for policy, s in scorer.score(learner, f"{count} tasks", progress).items()
        }

    @classmethod
    @with_own_settings
    @checked
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        backbone: str | Path | Backbone | BackboneSpec | None = None,
        tasks: int | None = None,
        train: TrainConfig | None = None,
        device: str = "auto",
        repeated_classes: Repeated | None = None,
        inference: str | None = None,
        precision: Precision | None = None,
        unfinished: bool = False,
        memory_limit: int | str | None = None,
        feature_cache: str | Path | None = None,
        verify: bytes | None = None,
        revision: str | None = None,
    ) -> Self:
        """Load what `save_pretrained` or a run saved, with all its settings; nothing is unpickled.

        An argument that is given replaces the saved setting; `device` and `feature_cache` are not saved. Folders of
        softtf 0.1 have no `train`, `inference` and `precision`; these get the constructor's defaults.

        Args:
            folder: the learner's folder or zip file; or, if there is no such folder, `user/name` on the Hub.
            backbone: the backbone, or its path or name if the saved one does not find it. A path in the folder's files
                is only followed if it is given here too, as anybody may have written it. With a string the other
                settings stay as saved; a `BackboneSpec` or a loaded backbone replaces them all.
            tasks: load only this many tasks, the first ones.
            train: settings for further `learn` calls.
            device: as in the constructor.
            repeated_classes: whether further tasks may share labels; `refuse` does not fit tasks that already do.
            inference: as in the constructor, out of those that the learner was saved with.
            precision: as in the constructor.
            unfinished: accept a run's folder in which a crash interrupted the saving of a task, without that task.
            memory_limit: the most bytes of the loaded tasks' masks in memory (or in the device's), such as `500MB`,
                `2GB` or 0; None loads all. With a limit the masks stay in their files, and those of the tasks that
                answered last are also in memory. The answers are the same. Nobody may change the files; replacing the
                folder (`save_pretrained`) does not affect a classifier that was loaded from it. Masks of tasks that are
                learned later are in memory beside these.
            feature_cache: as in the constructor.
            verify: the key that the folder must have been signed with; None checks no signature.
            revision: the commit, branch or tag on the Hub; the commit is the classifier's `revision` afterwards.

        Raises:
            UserError: the folder is not a whole, unchanged learner, it is not signed with `verify`, the backbone is
                another one, or an argument does not fit the learner.
        """
        place, where = find_device(device), str(backbone) if isinstance(backbone, Path) else backbone
        most = bytes_of(memory_limit)
        with located(folder, revision) as (path, commit):
            header, learner, classes = load_learner(
                path, lambda saved: load_named(saved, where, place), tasks, not unfinished, most, verify
            )
            identity = frozenset([Manifest.read(path).identity] if tasks is None else ())
        if repeated_classes is not None:
            classes.allow_repeated = repeated_classes == "allow"
            if not classes.allow_repeated and sum(map(len, classes.tasks)) > len(classes.labels):
                raise UserError(f"repeated_classes='refuse' does not fit {folder}, whose tasks share labels already")
        check_training(train, header.learner, learner)
        spec = learner.network.backbone.spec
        changes: dict[str, Any] = {"backbone": spec, "train": train, "inference": inference, "precision": precision}
        given = {name: value for name, value in changes.items() if value is not None}
        header = replace(header, allow_repeated=classes.allow_repeated, **given)
        model = cls.of(header, learner, classes, _store(header, feature_cache))
        model.saved_as, model.revision = identity, commit
        return model


def _store(header: Header, folder: str | Path | None) -> FeatureStore | None:
    """Return the store of features in a user's folder; warn if the backbone of these features has random weights."""
    if random_name(header.backbone):
        warn(f"the weights of {header.backbone.name} are random, as asked for", stacklevel=5)
    return open_store(OFF if folder is None else str(folder), header.backbone_sha256, warn)
