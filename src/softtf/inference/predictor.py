"""Answers for inputs of a user's: labels, probabilities and tasks, read from a learner's finished tasks."""

import os
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softtf.backbones.answering import Kept
from softtf.backbones.feature_store import FeatureStore
from softtf.backbones.features import BATCH, fixed_queries
from softtf.config.arguments import checked
from softtf.config.bounds import FalseRejection
from softtf.devices.memory import needs_memory
from softtf.devices.torch_state import with_own_settings
from softtf.errors import UserError
from softtf.inference import INFERENCES, AnswerID, policies_of
from softtf.inference.policy import BEST, Policy, policy_of, usual_policy
from softtf.inference.predict import Answers, by_label, group_numbers, predict, test_loader
from softtf.inference.unknown import USUAL_RATE, Unknown, UnknownInputs, unknown_to
from softtf.learners.base import Learner
from softtf.learners.class_table import ClassTable
from softtf.learners.knowledge import Finished, Knowledge
from softtf.streams import Examples, unlabelled
from softtf.streams.forms import texts_in

Inputs = Any
"""Inputs in any form that `learn` takes, with labels or without, or one input (`softtf.streams.forms` has the rule)."""


class Predictor:
    """Answers with the finished tasks; another task may be in training meanwhile.

    Args:
        knowledge: the learner and its classes.
        inference: which task inference answers; None for the best that the learner supports.
        dtype: of matrix products.
        store: where the frozen backbone's features are kept; None for memory only.

    Raises:
        UserError: the learner does not support the inference.
    """

    def __init__(
        self, knowledge: Knowledge, inference: str | None, dtype: torch.dtype, store: FeatureStore | None = None
    ) -> None:
        self.knowledge, self.dtype, self.store = knowledge, dtype, store
        self._telling: tuple[Finished, Unknown] | None = None
        self._kept: tuple[Finished, Kept] | None = None
        if inference is None:
            supported = policies_of(self.learner)
            best = "none" not in supported and "feature-id" in supported
            inference = BEST if best else usual_policy(supported)
        self.inference: Policy = policy_of(inference, self.learner)

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

    @with_own_settings
    @checked
    def predict(
        self,
        inputs: Inputs,
        *,
        groups: Sequence[Hashable] | None = None,
        task: int | Sequence[int] | None = None,
        inference: str | None = None,
        batch_size: int = 64,
        unknown: UnknownInputs = "answer",
        false_rejection: FalseRejection = USUAL_RATE,
    ) -> list[Hashable]:
        """Return the label of each input; the task is inferred for each sample alone.

        Args:
            inputs: images (files, bytes, PIL images, arrays), or texts if the backbone reads texts; several, or one;
                or the path of a folder, an archive or a file of rows with images, which are answered in their order; of
                texts, a `Path` of a file.
            groups: one hashable per input: samples known to belong to one task (one visit, one camera), whose
                evidence is pooled, among all tasks. If the method needs no task, it is then inferred by
                `answer-id:own`.
            task: the task, from 0, where it is known: one for all inputs, or one for each.
            inference: another task inference than the classifier's own.
            batch_size: samples run at once; answers do not depend on it.
            unknown: `answer` every input with a class that was learned, or `reject` those that look like none of
                them (`predict_unknown`): their label is None.
            false_rejection: the share of known inputs that may be rejected, as the training data tell it.

        Raises:
            UserError: nothing was learned yet, an input cannot be read, an option does not fit, or the learner cannot
                tell unknown inputs.
        """
        if unknown == "answer" and false_rejection != USUAL_RATE:
            raise UserError("false_rejection goes with unknown='reject'; without it every input gets a label")
        answers = self.answer(
            inputs,
            groups=groups,
            task=task,
            inference=inference,
            batch_size=batch_size,
            unknown=unknown == "reject",
        )
        labels, limit = answers.classes.labels, 1 - false_rejection
        found: list[Hashable] = [labels[i] for i in labels_of(answers).argmax(1).tolist()]
        if answers.unknown is None:
            return found
        return [None if strange > limit else label for label, strange in zip(found, answers.unknown, strict=True)]

    @with_own_settings
    def predict_proba(self, inputs: Inputs, **options: Any) -> Tensor:
        """Return probabilities [inputs, labels]; columns in the order of `labels`. Options as for `predict`."""
        return labels_of(self.answer(inputs, **options))

    def predict_task(self, inputs: Inputs, **options: Any) -> list[int]:
        """Return the task, from 0, that each input is inferred to belong to. Options as for `predict`."""
        return self.answer(inputs, **options).tasks.tolist()

    @with_own_settings
    def named(self, answers: Answers) -> list[tuple[Hashable, float, int]]:
        """Return (label, its probability, the task from 0 that was named) of each answer."""
        best = labels_of(answers).max(1)
        labels, tasks = answers.classes.labels, answers.tasks.tolist()
        found = zip(best.indices.tolist(), best.values.tolist(), tasks, strict=True)
        return [(labels[i], probability, task) for i, probability, task in found]

    @with_own_settings
    @checked
    def answer(
        self,
        inputs: Inputs,
        *,
        groups: Sequence[Hashable] | None = None,
        task: int | Sequence[int] | None = None,
        inference: str | None = None,
        batch_size: int = 64,
        unknown: bool = False,
    ) -> Answers:
        """Return probabilities per logit column and the tasks named; `predict` and its kin read from this.

        With `unknown`, also how unknown each input is.
        """
        finished = self._finished()
        learner, classes = finished
        _check_tasks(task, len(classes.tasks))
        policy = policy_of(inference, learner) if inference else self.inference
        if groups is not None and not INFERENCES[policy.inference].names_task:
            policy = policy_of(f"{AnswerID.name}:own", learner)
        if groups is not None and policy.shortlist is not None:
            if inference:
                raise UserError(f"{inference} looks at each sample's own tasks; leave out the groups, or the shortlist")
            policy = replace(policy, shortlist=None)
        if INFERENCES[policy.inference].given and task is None:
            raise UserError(f"the {policy.inference} needs the task; give task=..., on the command line --task")
        loader = test_loader(self.examples(inputs), learner.network.backbone, batch_size)
        if isinstance(task, Sequence) and len(task) != len(loader.examples):
            raise UserError(f"task must be one, or one per input: {len(loader.examples)} inputs but {len(task)} tasks")
        numbers = None if groups is None else group_numbers(groups, len(loader.examples))
        telling = self._unknown(finished) if unknown else None
        kept = self._kept
        if kept is None or kept[0] is not finished:
            kept = self._kept = finished, {}
        found = predict(
            learner, loader, policy, groups=numbers, task=task, dtype=self.dtype, unknown=telling, kept=kept[1]
        )
        return replace(found, classes=classes)

    def _unknown(self, finished: Finished) -> Unknown:
        """Return what tells unknown inputs; it is computed once for what is known."""
        kept = self._telling
        if kept is None or kept[0] is not finished:
            kept = self._telling = finished, unknown_to(finished)
        return kept[1]

    def examples(self, inputs: Inputs) -> Examples:
        """Return inputs as Examples without labels; the path of a folder or a file stands for what is in it.

        If the backbone reads texts, a string is a text, and only a `Path` is a path.

        Raises:
            UserError: there are no inputs, or they have another form.
        """
        if not self.learner.network.backbone.reads_text:
            return unlabelled(inputs, folders=True)
        return unlabelled(texts_in(Path(inputs)) if isinstance(inputs, os.PathLike) else inputs)

    @needs_memory("compute features", lambda *_, **__: BATCH)
    @with_own_settings
    @checked
    def features(self, inputs: Inputs, batch_size: int = 64) -> Tensor:
        """Return the frozen backbone's features q(x) [inputs, dim]; no task has to be learned for that.

        Raises:
            UserError: an input cannot be read, or there is not enough memory.
        """
        backbone = self.learner.network.backbone
        loader = test_loader(self.examples(inputs), backbone, batch_size)
        with self.learner.computing_in(self.dtype):
            return fixed_queries(backbone, loader, self.store).values

    def _finished(self) -> Finished:
        """Return what was learned so far, as one object: another thread may finish a task meanwhile."""
        finished = self.knowledge.finished
        if not finished.classes.tasks:
            raise UserError("nothing was learned yet; call learn(...) before predict or evaluate")
        return finished


def _check_tasks(task: int | Sequence[int] | None, known: int) -> None:
    """Refuse tasks that were not learned."""
    for one in task if isinstance(task, Sequence) else [] if task is None else [task]:
        if type(one) is not int or not 0 <= one < known:
            raise UserError(f"there is no task {one}; tasks 0 to {known - 1} were learned")


def labels_of(answers: Answers) -> Tensor:
    """Return probabilities [inputs, labels] over the labels that were known when the answers were given."""
    return by_label(answers.probabilities, answers.classes.column_labels())
