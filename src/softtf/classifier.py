"""The Python API: a classifier that learns new classes task after task."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from softtf.backbones.base import Backbone
from softtf.backbones.features import BATCH, OFF, FixedQueries, fixed_queries, open_store
from softtf.backbones.load import BackboneSpec, load_backbone, load_named, random_name, spec_of
from softtf.config.tree import checked
from softtf.devices.device import Precision, find_device, matmul_dtype
from softtf.devices.memory import needs_memory
from softtf.devices.torch_state import with_own_settings
from softtf.errors import UserError
from softtf.evaluation.evaluate import BATCH_SIZE, evaluate
from softtf.inference import policies_of, unsupported
from softtf.inference.policy import Policy, parse_policy, usual_policy
from softtf.inference.predict import Answers, by_label, predict
from softtf.learners import BlockRidge
from softtf.learners.base import Learner, LearnerSpec
from softtf.learners.class_table import ClassTable
from softtf.learners.knowledge import Finished, Knowledge
from softtf.saving.learner import Header, MaskPlace, load_learner, save_learner
from softtf.screen import warn
from softtf.streams import examples_from, unlabelled
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training, group_numbers, test_data, test_loader, unread_settings
from softtf.training.progress import ScoringProgress, TaskProgress
from softtf.training.task import EpochReport

DEFAULT = "feature-id:joint"  # by far the best per sample (docs/results.md)
PROJECTION = 1000  # numbers of its random projection, if the learner's spec asks for none

Repeated = Literal["refuse", "allow"]

Inputs = Any
"""Inputs in any form that `learn` takes, with labels or without, or one input (`softtf.streams.forms` has the rule)."""


class ContinualClassifier:
    """A frozen backbone and a learner; each `learn` call is one task.

    What is a task's own (masks, E-prompt, key, head) never changes afterwards. What tasks share does, such as
    DualPrompt's G-prompt (unless `freeze_g_after_first`), L2P's pool, or FT's whole network.

    torch's global settings (default type and device, autocast, inference mode, seeds) change no answer and stay.

    Threads may share a classifier, and classifiers a backbone on one device: what is asked while a task is learned is
    answered from the tasks finished before, bit for bit, and each call computes in its own precision. A process that is
    forked from one that computed can do so on one thread alone; start it by `spawn`.

    `save_pretrained` keeps all that is given here but `device` and `feature_cache`, which belong to the machine.

    Args:
        backbone: a name (see `softtf list`), a `BackboneSpec`, or a loaded backbone.
        learner: the method, such as `DualPrompt(e_layers="10-12", adapt=SoftMask(layers="10-12"))`. None: `BlockRidge`,
            which answers best per sample (docs/results.md), learns a task in one pass and answers alike whatever order
            the tasks came in.
        train: epochs, rates and so on for every task.
        seed: of every random number.
        device: `auto`, `cpu`, `cuda`, ...
        repeated_classes: `refuse` a class that an earlier task had, or `allow` tasks to share labels.
        inference: which task inference answers, such as `prompt-id` or `gradient-id`; per sample unless it says
            otherwise (`prompt-id:batch24`). None: `feature-id:joint` where the answer depends on the task, with a
            random projection of 1,000 numbers (4 MB in what tasks share) if the learner asks for no other; a method
            whose answer needs no task answers as it does. With any other inference no statistics are kept.
        precision: of matrix products when predicting; float32 keeps answers independent of the batch.
        feature_cache: a folder in which `learn`, `evaluate` and `features` keep, and find, the frozen backbone's
            features of images that they do not augment; runs given the same folder share them. A damaged file is
            computed anew, with a warning. None: they are kept in memory for the call at hand.

    Raises:
        UserError: a name is unknown or a setting does not fit.
    """

    @with_own_settings
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
        self.device = find_device(device)
        allow = _allowed(repeated_classes)
        if not isinstance(backbone, Backbone):
            backbone = load_backbone(spec_of(backbone), self.device)
        loaded = backbone.to(self.device)
        seed, learner = _whole(seed), learner or BlockRidge()
        built = learner.new_learner(loaded, seed)
        wanted = parse_policy(inference or DEFAULT).inference
        if wanted == "feature-id" and not learner.feature_id and "none" not in built.policies:
            learner = replace(learner, feature_id=PROJECTION)
            built = learner.new_learner(loaded, seed)
        self.knowledge = Knowledge(built.to(self.device), ClassTable(allow))
        header = Header(spec_of(loaded), loaded.weights_hash(), learner, seed, allow, train, inference, precision)
        self._set_up(header, feature_cache)

    def _set_up(self, header: Header, feature_cache: str | Path | None) -> None:
        """Check what the header says of training and answering, settle what it leaves open, and go by it."""
        cache = OFF if feature_cache is None else str(feature_cache)
        self.store = open_store(cache, header.backbone_sha256, warn)
        self.train_config = TrainConfig(**header.learner.training) if header.train is None else _checked(header.train)
        self.dtype = matmul_dtype(header.precision, self.device)
        if random_name(header.backbone):
            warn(f"the weights of {header.backbone.name} are random, as asked for", stacklevel=4)
        self.inference = self._policy(header.inference)
        self.header = replace(header, train=self.train_config, inference=self.inference.code)

    def _policy(self, text: str | None) -> Policy:
        supported = policies_of(self.learner)
        if text is None:
            text = DEFAULT if "none" not in supported and "feature-id" in supported else usual_policy(supported)
        policy = parse_policy(text)
        if policy.inference not in (*supported, "oracle"):
            raise unsupported(policy.inference, self.learner)
        return policy

    @property
    def learner(self) -> Learner:
        """The learner; while a task is learned, in training."""
        return self.knowledge.learner

    @property
    def classes(self) -> ClassTable:
        """The classes of all tasks learned."""
        return self.knowledge.finished.classes

    @property
    def num_tasks(self) -> int:
        """How many tasks were learned."""
        return len(self.classes.tasks)

    @property
    def labels(self) -> list[Hashable]:
        """Every label known, in the order of learning: the columns of `predict_proba`."""
        return self.classes.labels

    @property
    def frozen_backbone_unchanged(self) -> bool:
        """Whether the backbone's weights still have the hash they had at the start."""
        return self.learner.network.backbone.weights_hash() == self.header.backbone_sha256

    @with_own_settings
    def learn(
        self,
        train: Any,
        name: str | None = None,
        *,
        config: TrainConfig | None = None,
        progress: bool = True,
    ) -> list[EpochReport]:
        """Learn one task, wholly: if anything raises, Ctrl-C too, the classifier is as it was before.

        Other threads may go on calling everything else: until the task is finished they have the tasks before, as they
        were. A second `learn` is refused meanwhile.

        Args:
            train: (inputs, labels), a list of pairs, `Examples`, a DataFrame or a Hub data set. Labels are strings,
                integers, booleans, finite floats, bytes, or tuples of these.
            name: what to call the task.
            config: other training settings for this task.
            progress: show it live.

        Returns:
            one report per epoch.

        Raises:
            UserError: wrong or empty data, a class that was learned before, or another task is being learned.
            TrainingError: a loss was not finite.
        """
        name = name or f"task {self.num_tasks + 1}"
        examples = examples_from(train, name)
        settings = self.train_config if config is None else _checked(config)

        def learn(classes: ClassTable) -> list[EpochReport]:
            reports = []
            training = begin_training(self.learner, classes, examples, name, settings, self.store)
            if unread := unread_settings(self.learner, training.config):
                warn(unread, stacklevel=5)
            with TaskProgress(training, name, shown=progress) as shown:
                while not training.finished:
                    reports.append(training.run_epoch(shown.step))
                    shown.epoch(reports[-1])
                training.finish()
            return reports

        return self.knowledge.next_task(learn)

    @with_own_settings
    def predict(
        self,
        inputs: Inputs,
        *,
        groups: Sequence[Hashable] | None = None,
        task: int | None = None,
        inference: str | None = None,
        batch_size: int = 64,
    ) -> list[Hashable]:
        """Return the label of each input; the task is inferred for each sample alone.

        Args:
            inputs: images (files, bytes, PIL images, arrays), or texts if the backbone reads texts; several, or one.
            groups: one hashable per input: samples known to belong to one task (one visit, one camera), whose
                evidence is pooled.
            task: the task, from 0, where it is known.
            inference: another task inference than the classifier's own.
            batch_size: samples run at once; answers do not depend on it.

        Raises:
            UserError: nothing was learned yet, an input cannot be read, or an option does not fit.
        """
        answers = self.answer(inputs, groups=groups, task=task, inference=inference, batch_size=batch_size)
        labels = self.labels
        return [labels[i] for i in self._by_label(answers).argmax(1).tolist()]

    @with_own_settings
    def predict_proba(self, inputs: Inputs, **options: Any) -> Tensor:
        """Return probabilities [inputs, labels]; columns in the order of `labels`. Options as for `predict`."""
        return self._by_label(self.answer(inputs, **options))

    def predict_task(self, inputs: Inputs, **options: Any) -> list[int]:
        """Return the task, from 0, that each input is inferred to belong to. Options as for `predict`."""
        return self.answer(inputs, **options).tasks.tolist()

    @with_own_settings
    def describe(self, answers: Answers) -> list[tuple[Hashable, float, int]]:
        """Return (label, its probability, the task from 0 that was named) of each answer."""
        best = self._by_label(answers).max(1)
        labels, tasks = self.labels, answers.tasks.tolist()
        found = zip(best.indices.tolist(), best.values.tolist(), tasks, strict=True)
        return [(labels[i], probability, task) for i, probability, task in found]

    @with_own_settings
    def answer(
        self,
        inputs: Inputs,
        *,
        groups: Sequence[Hashable] | None = None,
        task: int | None = None,
        inference: str | None = None,
        batch_size: int = 64,
    ) -> Answers:
        """Return probabilities per logit column and the tasks named; `predict` and its kin read from this."""
        learner, classes = self._finished()
        if task is not None and (type(task) is not int or not 0 <= task < len(classes.tasks)):
            raise UserError(f"there is no task {task}; tasks 0 to {len(classes.tasks) - 1} were learned")
        policy = self._policy(inference) if inference else self.inference
        if groups is not None and policy.inference == "none":
            raise UserError(f"{type(learner).__name__} infers no task, so there is nothing to pool in groups")
        if policy.inference == "oracle" and task is None:
            raise UserError("the oracle needs the task; give task=..., on the command line --task")
        loader = test_loader(unlabelled(inputs), learner, batch_size)
        numbers = None if groups is None else group_numbers(groups, len(loader.examples))
        return predict(learner, loader, policy, groups=numbers, task=task, dtype=self.dtype)

    @needs_memory("compute features", lambda *_, **__: BATCH)
    @with_own_settings
    def features(self, inputs: Inputs, batch_size: int = 64) -> Tensor:
        """Return the frozen backbone's features q(x) [inputs, dim]; no task has to be learned for that.

        Raises:
            UserError: an input cannot be read, or there is not enough memory.
        """
        loader = test_loader(unlabelled(inputs), self.learner, batch_size)
        with self.learner.computing_in(self.dtype):
            return fixed_queries(self.learner.network.backbone, loader, self.store).values

    @with_own_settings
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
            tests: one test set per task learned, in the order of learning, each as `learn` takes it.
            policies: such as `prompt-id`, `gradient-id:batch24`, `oracle`; None for the classifier's own and oracle.
            batch_size: samples run at once.
            progress: show it live, on a terminal or in a notebook.

        Returns:
            policy title -> acc, task_identity and pooled accuracy, in percent.
        """
        learner, classes = self._finished()
        count = len(classes.tasks)
        if len(tests) != count:
            raise UserError(f"{count} tasks were learned but {len(tests)} test sets given; give one per task")
        examples = [examples_from(test, f"test set {i + 1}") for i, test in enumerate(tests)]
        chosen = [self._policy(p) for p in policies] if policies else [self.inference, Policy("oracle")]
        data = test_data(examples, classes, learner, batch_size)
        if self.store:
            data = replace(data, queries=FixedQueries(learner.network.backbone, data.loader, self.store))
        with ScoringProgress(f"{count} tasks", shown=progress) as shown:
            scores = evaluate(
                learner,
                data,
                classes.column_labels(),
                chosen,
                batch_size=batch_size,
                dtype=self.dtype,
                on_progress=shown.told,
            )
        return {
            policy.title(): {"acc": s.acc, "task_identity": s.task_identity, "pooled": s.pooled}
            for policy, s in scores.items()
        }

    @with_own_settings
    def save_pretrained(self, folder: str | Path, *, replace: bool = False, sign: bytes | None = None) -> None:
        """Save to a folder: a header with the settings, one safetensors file per task, and the hashes of them all.

        `from_pretrained` gives the whole classifier back, but for `device` and `feature_cache`, which are not saved.

        Args:
            folder: new or empty, or what a killed save left there.
            replace: whether the folder may hold a learner, which is replaced in one step: a crash leaves the old one
                or the new one whole, and who loads it meanwhile gets one of them. Task files that are the same stay,
                other files too. A warning says what is replaced if it is no earlier version of this learner.
            sign: a secret key of 16 bytes or more; `from_pretrained(folder, verify=key)` then loads nothing that was
                changed since by somebody without the key (HMAC-SHA256 over the hashes).

        Raises:
            UserError: the folder holds something else, somebody else is saving there, or the disk is full (nothing
                half-written is left to load).
        """
        save_learner(Path(folder), self.header, *self.knowledge.finished, replace, sign)

    @classmethod
    @with_own_settings
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
        masks: MaskPlace = "memory",
        feature_cache: str | Path | None = None,
        verify: bytes | None = None,
    ) -> "ContinualClassifier":
        """Load what `save_pretrained` or a run saved, with all its settings; nothing is unpickled.

        What is left out is as it was saved, but for `device` and `feature_cache`; what is given takes its place.
        (Older folders hold no `train`, `inference` and `precision`; they get the constructor's defaults.)

        Args:
            folder: the learner's folder.
            backbone: the backbone, or where it is, if it is not to be found by the name it was saved under: a path that
                stands in the folder's files is used only if it is given here, as they may come from anybody. A string
                says where it is, and the other settings are as saved; a `BackboneSpec` or a loaded backbone says all.
            tasks: load only the first so many tasks.
            train: settings for further `learn` calls.
            device: as for the constructor.
            repeated_classes: whether further tasks may share labels; `refuse` does not go with tasks that do already.
            inference: as for the constructor, of those that the learner was saved with.
            precision: as for the constructor.
            unfinished: accept what a crash left of a task that was being saved (a run's folder), without that task.
            masks: `memory`, or `disk` to leave those of the tasks loaded in their files and read in only what
                predictions use, on the CPU, and to the device each time. The files must not be changed then; a folder
                that is replaced (`save_pretrained`) changes nothing for who has loaded it.
            feature_cache: as for the constructor.
            verify: the key that it must have been signed with; None asks for no signature.

        Raises:
            UserError: the folder is not a whole, unchanged learner, it is not signed with `verify`, the backbone is
                another one, or an option does not fit the learner.
        """
        found = find_device(device)
        given = str(backbone) if isinstance(backbone, Path) else backbone
        self = cls.__new__(cls)
        self.device = found
        header, learner, classes = load_learner(
            Path(folder), lambda saved: load_named(saved, given, found), tasks, not unfinished, masks, verify
        )
        self.knowledge = Knowledge(learner, classes)
        changes: dict[str, Any] = {"train": train, "inference": inference, "precision": precision}
        if repeated_classes is not None:
            self.classes.allow_repeated = changes["allow_repeated"] = _allowed(repeated_classes)
            if not self.classes.allow_repeated and sum(map(len, self.classes.tasks)) > len(self.classes.labels):
                raise UserError(f"repeated_classes='refuse' does not fit {folder}, whose tasks share labels already")
        changes["backbone"] = self.learner.network.backbone.spec
        changes = {name: value for name, value in changes.items() if value is not None}
        self._set_up(replace(header, **changes), feature_cache)
        return self

    def _finished(self) -> Finished:
        """Return what was learned so far, to be read as one: a task may be finished in another thread meanwhile."""
        finished = self.knowledge.finished
        if not finished.classes.tasks:
            raise UserError("nothing was learned yet; call learn(...) before predict or evaluate")
        return finished

    def _by_label(self, answers: Answers) -> Tensor:
        """Return probabilities [inputs, labels] over the labels that were known when the answers were given."""
        columns = self.classes.column_labels()[: answers.probabilities.shape[1]]
        return by_label(answers.probabilities, columns)


def _allowed(repeated_classes: Repeated) -> bool:
    if repeated_classes not in ("refuse", "allow"):
        raise UserError(f"repeated_classes must be 'refuse' or 'allow', not {repeated_classes!r}")
    return repeated_classes == "allow"


def _whole(seed: int) -> int:
    """Return a seed as a Python integer, whatever integer it is: random numbers are drawn from its very type."""
    try:
        return index(seed)
    except TypeError:
        raise UserError(f"seed must be an integer, not {seed!r}") from None


def _checked(train: TrainConfig) -> TrainConfig:
    """Return training settings as they are read back when saved: a word that none of them has is refused here."""
    if not isinstance(train, TrainConfig):
        raise UserError(f"training settings must be a TrainConfig, not {train!r}")
    return checked(train, "train")
