"""Check a learner."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from softtf.backbones import Backbone
from softtf.classifier import ContinualClassifier
from softtf.inference import Oracle, policies_of
from softtf.inference.policy import usual_policy
from softtf.learners import Learner, LearnerSpec
from softtf.learners.base import Batch
from softtf.testing.fixed_step import check_fixed_step, check_replays
from softtf.testing.laws import equal, law, same
from softtf.testing.tiny import CLASSES, TASKS, pictures, task_data, tiny_backbone
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.gradient import GradientTraining


def check_learner(spec: LearnerSpec, backbone: Callable[[], Backbone] = tiny_backbone) -> None:
    """Check a learner: earlier tasks stay, a failed task leaves no trace, samples are answered alone, saving is exact.

    Where its loss is said to be a mean over rows (`Learner.loss_is_mean`), that is checked too. So is that a GPU can
    record its step, where the step is said to be the same for every batch (`Learner.step_is_fixed`).

    Args:
        spec: its layers must be in the backbone.
        backbone: returns a backbone in float64 that takes images of 16 x 16 pixels.
    """
    frozen = backbone()
    before, train = frozen.weights_hash(), TrainConfig(**{"precision": "float32", **spec.training})
    own = usual_policy(spec.new_learner(frozen, 0).policies)
    model = ContinualClassifier(frozen, spec, train, device="cpu", inference=own)
    for task in range(TASKS):
        kept = _state(model)
        answers = model.predict_proba(pictures(5)) if task else None
        _fail_to_learn(model, task)
        law(equal(_state(model), kept), "a task that failed leaves every parameter as it was")
        if answers is not None:
            failed = model.predict_proba(pictures(5))
            law(torch.equal(failed, answers), "a task that failed leaves every answer as it was")
        model.learn(task_data(task), progress=False)
        owned = {name: value for name, value in kept.items() if not name.startswith("shared/")}
        now = {name: value for name, value in _state(model).items() if name in owned}
        law(equal(now, owned), "learning changes no other task's parameters")
    _check_answers(model)
    check_saving(model, backbone)
    _check_parts(model, train)
    law(frozen.weights_hash() == before, "the frozen backbone is never written to")


def _state(model: ContinualClassifier) -> dict[str, Tensor]:
    """Copy every parameter by name; slots that later tasks train are among what tasks share."""
    learner = model.learner
    values = {f"shared/{name}": value.clone() for name, value in learner.shared_state_dict().items()}
    for name, slots in learner.slot_modules().items():
        for task in range(0 if slots.retrained else learner.num_tasks):
            values |= {f"{task}/{name}.{n}": value.clone() for n, value in slots.task_state_dict(task).items()}
    return values


def _fail_to_learn(model: ContinualClassifier, task: int) -> None:
    """Interrupt the task by Ctrl-C after its last step."""

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    learner = model.learner
    learner.end_task = interrupted  # type: ignore[method-assign]
    try:
        with suppress(KeyboardInterrupt):
            model.learn(task_data(task), progress=False)
    finally:
        vars(model.learner).pop("end_task", None)


def _check_answers(model: ContinualClassifier) -> None:
    images = pictures(7)
    for name in policies_of(model.learner):
        if name == Oracle.name:
            continue
        whole = model.predict_proba(images, inference=name)
        for rows, size in (([3, 0, 6], 64), (list(range(7)), 2)):
            found = model.predict_proba([images[i] for i in rows], inference=name, batch_size=size)
            same(found, whole[rows], f"an answer by {name!r} does not depend on batch or neighbours", 1e-5)
    law(whole.shape == (7, TASKS * CLASSES), "there is a probability for every class seen")


def _check_parts(model: ContinualClassifier, train: TrainConfig) -> None:
    """Check, by one more task, that a loss which is called a mean over rows is one, and a step called fixed, too."""
    if not model.learner.loss_is_mean:
        return
    learner, classes, task = deepcopy(model.learner), deepcopy(model.classes), task_data(TASKS)
    training = begin_training(learner, classes, task, "one more", replace(train, augment=False, batch_size=5))
    learner.double()
    inputs, targets, rows = next(training.loader.epoch(0))
    with learner.computing_in(torch.float64):
        batch = Batch(inputs.double(), targets, rows)
        check_mean(learner, batch)
        if not learner.step_is_fixed:
            return
        check_fixed_step(learner, batch)
    check_replays(lambda record: _one_more(model, replace(train, epochs=2, batch_size=5, record=record)))


def _one_more(model: ContinualClassifier, train: TrainConfig) -> GradientTraining:
    """Open one more task in a copy of a classifier's learner."""
    learner, classes = deepcopy(model.learner), deepcopy(model.classes)
    training = begin_training(learner, classes, task_data(TASKS), "one more", train)
    assert isinstance(training, GradientTraining)
    return training


def check_mean(learner: Learner, batch: Batch) -> None:
    """Check that each term of a loss on a batch is the mean of those on its parts, weighted by their rows.

    Several processes of a run take parts of each batch if the learner's `loss_is_mean` says that they can.
    """

    def loss(rows: slice) -> dict[str, Tensor]:
        query = None if batch.query is None else batch.query[rows]
        return learner.loss(
            replace(batch, inputs=batch.inputs[rows], targets=batch.targets[rows], rows=batch.rows[rows], query=query)
        )

    size, first = len(batch.rows), len(batch.rows) // 2
    whole, one, other = (loss(rows) for rows in (slice(size), slice(first), slice(first, size)))
    for name, value in whole.items():
        mean = (first * one[name] + (size - first) * other[name]) / size
        same(mean, value, f"the {name} loss is a mean over the rows of a batch, as loss_is_mean says", 1e-6)


def check_saving(model: ContinualClassifier, backbone: Callable[[], Backbone]) -> None:
    """Check that saving and loading a classifier keeps its parameters and answers, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(f"{folder}/saved")
        again = ContinualClassifier.from_pretrained(f"{folder}/saved", backbone=backbone(), device="cpu")
        law(equal(_state(again), _state(model)), "saving and loading keeps every parameter bit for bit")
        found, expected = (some.predict_proba(pictures(5)) for some in (again, model))
        law(torch.equal(found, expected), "saving and loading keeps every answer bit for bit")
