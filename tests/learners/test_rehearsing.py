"""Herded exemplars: iCaRL and BiC, whose losses are written out here, and what each answers."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.classifier import ContinualClassifier
from softtf.learners import BiC, ICaRL
from softtf.learners.base import Batch
from softtf.learners.bic import fit_correction
from softtf.memory import separate
from softtf.training.task import TaskTraining
from support.tiny import CLASSES, generator, held_out, noise, task_labels
from support.tuned import (
    PLAIN,
    assert_gradients,
    cross_entropy,
    in_task,
    loss_of,
    slow_features,
    slow_logits,
    whole_batch,
)

from support.tiny import exact, pictures, task_data, tiny_backbone  # isort: skip


def consolidated(training: TaskTraining) -> None:
    with training.learner.computing_in(torch.float64):
        training.learner.end_task(training.data)


def unit_features(training: TaskTraining) -> Tensor:
    """Of everything in the loader, by the reference."""
    inputs = whole_batch(training).inputs
    return F.normalize(slow_features(training.learner.network, inputs).detach(), dim=1)


@pytest.mark.parametrize("spec", [ICaRL(exemplars=13), BiC(exemplars=13)], ids=["icarl", "bic"])
def test_exemplars_are_equally_many_a_class_the_first_of_the_herding_order(spec: ICaRL | BiC) -> None:
    training = in_task(spec, 1)
    old = training.learner.memory
    assert torch.bincount(old["exemplars.columns"]).tolist() == [4, 4, 4]  # 13 // 3; all there are
    targets, features = training.loader.targets, unit_features(training)
    consolidated(training)
    memory = training.learner.memory
    assert memory["exemplars.columns"].tolist() == [c for c in range(5) for _ in range(2)]
    examples, before = separate("exemplars", memory), separate("exemplars", old)
    for column in range(3):
        for k in range(2):
            assert torch.equal(examples[2 * column + k], before[4 * column + k])
    raw = task_data(1)
    for column in (3, 4):
        rows = (targets == column).nonzero()[:, 0].tolist()
        own, chosen = features[rows], []
        for _ in range(2):
            left = [i for i in range(len(rows)) if i not in chosen]
            chosen.append(min(left, key=lambda i: float((own[[*chosen, i]].mean(0) - own.mean(0)).norm())))
        for k, i in enumerate(chosen):
            assert torch.equal(examples[2 * column + k].permute(1, 2, 0), raw[rows[i]])


def test_a_task_is_trained_on_its_data_and_all_exemplars() -> None:
    training = in_task(ICaRL(exemplars=13), 1)
    assert torch.bincount(training.loader.targets).tolist() == [4, 4, 4, 4, 4]
    assert len(training.loader.examples) == 20
    assert training.run_epoch().samples == 20


# --- iCaRL ---


def test_icarls_loss_is_binary_cross_entropy_with_labels_and_earlier_outputs() -> None:
    training = in_task(ICaRL(exemplars=20), 1)
    learner, batch = training.learner, whole_batch(training)
    assert {int(t) for t in batch.targets} == set(range(5))
    logits, old = slow_logits(learner.network, batch.inputs), slow_logits(learner.teacher.network, batch.inputs)
    new: Tensor | float = 0.0
    kept: Tensor | float = 0.0
    for i, target in enumerate(batch.targets.tolist()):
        g = 1 / (1 + torch.exp(-logits[i]))
        q = 1 / (1 + torch.exp(-old[i]))
        for c in range(5):
            aim = q[c] if c < 3 else float(c == target)
            term = -(aim * torch.log(g[c]) + (1 - aim) * torch.log(1 - g[c])) / len(logits)
            new, kept = (new, kept + term) if c < 3 else (new + term, kept)
    losses = loss_of(training, batch)
    torch.testing.assert_close(losses["classification"], new)
    torch.testing.assert_close(losses["distillation"], kept)
    assert_gradients(training, batch, new + kept)


def test_icarls_answer_is_the_class_whose_exemplars_mean_is_nearest() -> None:
    model = ContinualClassifier(tiny_backbone(), ICaRL(exemplars=20), PLAIN, device="cpu", seed=3)
    for task in range(3):
        model.learn(task_data(task), progress=False)
    exact(model)
    memory, network, preparation = (
        model.learner.memory,
        model.learner.network,
        model.learner.network.backbone.preparation,
    )
    centred = [preparation.load_train(e, "") for e in separate("exemplars", memory)]
    plain = type(preparation)(preparation.size, augment=False)
    inputs = plain.augment_batch(centred, "cpu", generator(0))
    features = F.normalize(slow_features(network, inputs).detach(), dim=1)
    means = [F.normalize(features[memory["exemplars.columns"] == c].mean(0), dim=0) for c in range(sum(CLASSES))]
    images, columns = pictures(30, 8), [label for t in range(3) for label in task_labels(t)]
    tests = torch.stack([preparation.load_test(image, "") for image in images])
    unit = F.normalize(slow_features(network, preparation.batch(tests, "cpu")).detach(), dim=1)
    distances = torch.stack([torch.stack([(feature - mean).norm() for mean in means]) for feature in unit])
    expected = [columns[int(row.argmin())] for row in distances]
    assert model.predict(images) == expected and len(set(expected)) > 3
    found = model.predict_proba(images)
    shares = (-distances.square() / memory["temperature"]).exp()
    torch.testing.assert_close(found.double(), shares / shares.sum(1, keepdim=True), rtol=0, atol=1e-5)
    assert found.max(1).values.mean() > 0.2  # at temperature 1 it is hardly above a ninth
    with torch.no_grad():  # the classifier has no say
        for task in range(3):
            network.heads.slot(task)["weight"].zero_()
    assert model.predict(images) == expected


# --- BiC ---


def test_bics_loss_mixes_cross_entropy_and_distillation_by_the_share_of_old_classes() -> None:
    training = in_task(BiC(exemplars=20), 2)
    learner = training.learner
    learner.memory = learner.memory | {"alpha": torch.tensor([1.0, 0.6]), "beta": torch.tensor([0.0, -0.3])}
    batch = whole_batch(training)
    kept = [i for i, row in enumerate(batch.rows.tolist()) if row not in learner.held_out.tolist()]
    assert 0 < len(kept) < len(batch.rows)

    def corrected(logits: Tensor) -> Tensor:
        return torch.cat([logits[:, :3], 0.6 * logits[:, 3:5] - 0.3, logits[:, 5:]], 1)

    logits = corrected(slow_logits(learner.network, batch.inputs))[kept]
    old = corrected(slow_logits(learner.teacher.network, batch.inputs))[kept, :5]
    new = 4 / 9 * cross_entropy(logits, batch.targets[kept].tolist())
    soft_old, soft_new = ((v[:, :5] / 2).exp() / (v[:, :5] / 2).exp().sum(1, keepdim=True) for v in (old, logits))
    distilled = 5 / 9 * -(soft_old * soft_new.log()).sum(1).mean()
    losses = loss_of(training, batch)
    torch.testing.assert_close(losses["cross_entropy"], new)
    torch.testing.assert_close(losses["distillation"], distilled)
    assert_gradients(training, batch, new + distilled)


def test_what_bic_holds_out_is_balanced_and_never_trained_on() -> None:
    training = in_task(BiC(exemplars=60), 1, task_data(1, per_class=30))
    learner, targets = training.learner, training.loader.targets
    assert torch.bincount(targets[learner.held_out]).tolist() == [1, 1, 1, 1, 1]
    batch = whole_batch(training)
    other = batch.inputs.clone()
    other[learner.held_out] = torch.rand(other[0].shape, dtype=other.dtype)
    changed = Batch(other, batch.targets, batch.rows)
    ours, theirs = loss_of(training, batch), loss_of(training, changed)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    only = whole_batch(training, learner.held_out.tolist())
    assert all(value == 0 for value in loss_of(training, only).values())
    first = in_task(BiC(exemplars=60), 0)
    assert len(first.learner.held_out) == 0


def test_bics_correction_only_moves_the_new_classes_and_later_ones_leave_it() -> None:
    training = in_task(BiC(exemplars=20), 1)
    learner, x = training.learner, whole_batch(training).inputs
    assert learner.memory["alpha"].tolist() == [1] and learner.memory["beta"].tolist() == [0]

    def answers() -> Tensor:
        network = learner.network
        with torch.no_grad(), learner.computing_in(torch.float64):
            return learner.logits(network.trunk(network.stem(x)), 0)

    before = answers()
    consolidated(training)
    after = answers()
    alpha, beta = learner.memory["alpha"], learner.memory["beta"]
    assert torch.equal(after[:, :3], before[:, :3])
    torch.testing.assert_close(after[:, 3:], alpha[1].double() * before[:, 3:] + beta[1].double())
    assert alpha[0] == 1 and beta[0] == 0 and (alpha[1] != 1 and beta[1] != 0)
    third = in_task(BiC(exemplars=20), 2)
    earlier = {name: third.learner.memory[name].clone() for name in ("alpha", "beta")}
    consolidated(third)
    for name, value in earlier.items():
        assert len(value) == 2 and torch.equal(third.learner.memory[name][:2], value)


def test_the_correction_undoes_a_bias() -> None:
    """Labels are drawn from unbiased logits; the new classes' are then shifted and stretched."""
    true = 2 * noise(6000, 5)
    targets = torch.multinomial(true.softmax(1), 1, generator=generator(1))[:, 0]
    biased = torch.cat([true[:, :3], (true[:, 3:] + 1.2) / 0.5], 1)
    alpha, beta = fit_correction(biased, targets, 3)
    assert alpha.item() == pytest.approx(0.5, abs=0.05) and beta.item() == pytest.approx(-1.2, abs=0.15)


def test_the_correction_is_the_best_there_is() -> None:
    logits, targets = noise(40, 5), torch.arange(40) % 5

    def objective(alpha: float, beta: float) -> float:
        corrected = torch.cat([logits[:, :2], alpha * logits[:, 2:] + beta], 1)
        return float(cross_entropy(corrected, targets.tolist()) + 0.1 / 40 * ((alpha - 1) ** 2 + beta**2))

    alpha, beta = (value.item() for value in fit_correction(logits, targets, 2))
    best = objective(alpha, beta)
    for step in (1e-3, 0.1, 1.0):
        for da, db in ((step, 0), (-step, 0), (0, step), (0, -step), (step, -step)):
            assert objective(alpha + da, beta + db) > best


def test_where_a_few_examples_can_be_told_apart_the_correction_stays_finite() -> None:
    logits = torch.tensor([[5.0, 0.0, -5.0], [0.0, 5.0, -5.0], [0.0, 0.0, 5.0]])
    alpha, beta = fit_correction(logits, torch.tensor([0, 1, 2]), 2)
    assert 0 < alpha < 20 and beta.abs() < 20


def test_bic_learns_from_classes_of_a_single_example() -> None:
    """None can be held out then, so nothing is corrected."""
    model = ContinualClassifier(tiny_backbone(), BiC(exemplars=20), PLAIN, device="cpu", seed=3)
    for task in range(2):
        model.learn(task_data(task, per_class=1), progress=False)
    assert model.learner.memory["alpha"].tolist() == [1, 1] and model.learner.memory["beta"].tolist() == [0, 0]
    assert len(model.predict(held_out([0])[0])) == 9
