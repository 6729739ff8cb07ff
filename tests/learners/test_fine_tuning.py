"""FT's loss written out, what all methods that train the whole network share, and the settings they bring."""

import pytest
import torch

from softtf.adaptations.fine_tuning import FineTuning
from softtf.classifier import ContinualClassifier
from softtf.cli.parse import parse
from softtf.errors import UserError
from softtf.learners import EWC, FT, BiC, DERpp, ICaRL, LearnerSpec, LwF
from softtf.recipes.methods import known_methods
from softtf.recipes.recipes import recipe_named
from softtf.runs.config import RunConfig
from softtf.training.config import TrainConfig
from support.tiny import TRAIN, classifier, held_out, pictures, snapshot, task_data, task_labels, tiny_backbone
from support.tuned import assert_gradients, cross_entropy, in_task, loss_of, slow_logits, whole_batch

SPECS = [FT(), EWC(fisher_samples=2), LwF(), DERpp(exemplars=7), ICaRL(exemplars=20), BiC(exemplars=20)]
NAMES = ("ft", "ewc", "lwf", "der++", "icarl", "bic")
specs = pytest.mark.parametrize("spec", SPECS, ids=NAMES)


@pytest.mark.parametrize("classes", ["seen", "own"])
def test_the_loss_is_cross_entropy_over_the_classes_seen_or_the_tasks(classes: str) -> None:
    training = in_task(FT(FineTuning((2, 4), "qkv,fc1"), classes), 1)  # type: ignore[arg-type]
    batch = whole_batch(training)
    logits, targets = slow_logits(training.learner.network, batch.inputs), batch.targets.tolist()
    first = 3 if classes == "own" else 0
    expected = cross_entropy(logits[:, first:], [t - first for t in targets])
    torch.testing.assert_close(loss_of(training, batch)["cross_entropy"], expected)
    assert_gradients(training, batch, expected)
    heads = {name for name in training.parameters if name.startswith("head.")}
    old = {"head.slots.0.weight", "head.slots.0.bias"}
    assert old <= heads if classes == "seen" else heads == {"head.task.weight", "head.task.bias"}


@specs
def test_one_task_is_joint_training_and_its_accuracy_the_pooled_one(spec: LearnerSpec) -> None:
    model = classifier(spec, 1)
    free, given = model.evaluate(held_out([0]), ["none", "oracle"]).values()
    assert free["acc"] == pytest.approx(free["pooled"]) == given["acc"] and free["task_identity"] == 100


@specs
def test_with_the_task_given_the_answer_is_one_of_its_classes(spec: LearnerSpec) -> None:
    model = classifier(spec, 2)
    assert model.learner.task_inferences == () and model.inference.inference == "none"
    for task in range(2):
        assert set(model.predict(pictures(20), task=task)) <= set(task_labels(task))
    with pytest.raises(UserError, match="its answer needs no task"):
        model.predict(pictures(2), inference="prompt-id")


@specs
def test_a_method_brings_its_rate_and_users_change_it(spec: LearnerSpec) -> None:
    (name,) = [n for n, method in known_methods().items() if method.kind == spec.kind]
    assert name in NAMES
    recipe = recipe_named("cifar100-10", name)
    paper = recipe_named("cifar100-10", "dual-prompt+soft-tf").train
    assert recipe.train.learning_rate == 3e-4 < type(spec).training["learning_rate"] < paper.learning_rate / 5
    mini = recipe_named("cifar100-10", name, "mini")
    assert mini.train.learning_rate == type(spec).training["learning_rate"]
    changed = parse(RunConfig, ["--train.learning-rate", "0.5"], "softtf", recipe)
    assert changed.train.learning_rate == 0.5
    model = ContinualClassifier(tiny_backbone(), spec, device="cpu")
    assert model.train_config == TrainConfig(**type(spec).training)
    assert ContinualClassifier(tiny_backbone(), spec, TRAIN, device="cpu").train_config == TRAIN


def test_all_settings_that_methods_bring_are_training_settings() -> None:
    for kind in LearnerSpec.kinds().values():
        assert isinstance(TrainConfig(**kind.training), TrainConfig)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (lambda: EWC(weight=-1.0), "weight"),
        (lambda: EWC(fisher_samples=0), "fisher_samples"),
        (lambda: LwF(weight=float("nan")), "weight"),
        (lambda: LwF(temperature=0.0), "temperature"),
        (lambda: DERpp(exemplars=0), "exemplars"),
        (lambda: DERpp(alpha=-0.1), "alpha"),
        (lambda: DERpp(beta=float("inf")), "beta"),
        (lambda: ICaRL(exemplars=0), "exemplars"),
        (lambda: BiC(exemplars=-5), "exemplars"),
    ],
)
def test_settings_that_make_no_sense_are_refused(spec: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        spec()  # type: ignore[operator]


@pytest.mark.parametrize(("spec", "least"), [(ICaRL(exemplars=4), 5), (BiC(exemplars=9), 10)])
def test_too_few_exemplars_are_refused_before_anything_is_learned(spec: LearnerSpec, least: int) -> None:
    model = classifier(spec, 1)
    before = snapshot(model.learner)
    with pytest.raises(UserError, match=f"do not suffice for 5 classes; give at least {least}"):
        model.learn(task_data(1), progress=False)
    assert model.num_tasks == model.learner.num_tasks == 1
    assert all(torch.equal(value, before[name]) for name, value in snapshot(model.learner).items())
