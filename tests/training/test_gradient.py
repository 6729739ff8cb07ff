"""The training loop: the step it takes, the rate, and what it reports."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from softtf.backbones.feature_store import FeatureStore
from softtf.errors import TrainingError, UserError
from softtf.files.tensors import load_tensors, save_tensors
from softtf.learners import DualPrompt, LinearHead
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from softtf.seeds import derive_seed
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.gradient import LossWatch
from softtf.training.task import TaskTraining
from support.tiny import TRAIN, assert_same, classifier, learned, snapshot, task_data, tiny_backbone

SPEC = DualPrompt(e_layers=(3,))


def begun(config: TrainConfig, seed: int = 0) -> TaskTraining:
    learner = SPEC.build(tiny_backbone(), seed)
    return begin_training(learner, ClassTable(), task_data(0), "first", config)


def test_training_equals_the_plain_loop_of_adam_with_clipped_gradients() -> None:
    config = TrainConfig(2, 5, 0.7, clip_norm=0.1, precision="float32")
    ours, plain = begun(config), begun(config)
    while not ours.finished:
        report = ours.run_epoch()
    parameters = list(plain.parameters.values())
    adam = torch.optim.Adam(parameters, lr=0.7 * 5 / 256, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    for epoch in range(2):
        sums: dict[str, float] = {}
        for batch in plain.loader.epoch(derive_seed(plain.learner.seed, 0, epoch)):
            with plain.learner.computing_in(torch.float32):
                losses = plain.learner.loss(Batch(*batch))
                adam.zero_grad()
                sum(losses.values()).backward()
            norm = torch.sqrt(sum((p.grad**2).sum() for p in parameters))
            assert norm > 0.1  # so clipping is at work
            for p in parameters:
                p.grad.mul_(0.1 / (norm + 1e-6))
            adam.step()
            sums = {name: sums.get(name, 0.0) + loss.item() for name, loss in losses.items()}
    for (name, a), b in zip(ours.parameters.items(), parameters, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    assert report.losses == pytest.approx({name: total / 3 for name, total in sums.items()}, rel=1e-4)
    assert (report.task, report.epoch, report.epochs, report.samples) == (0, 2, 2, 12)


def test_the_rate_scales_with_the_batch_and_falls_as_half_a_cosine() -> None:
    training = begun(TrainConfig(2, 4, 0.64, schedule="cosine", precision="float32"))
    rates: list[float] = []
    for _ in range(2):
        training.run_epoch(lambda step, steps: rates.append(training.optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([0.01 * 0.5 * (1 + math.cos(math.pi * i / 6)) for i in range(6)])
    steady = begun(TrainConfig(1, 4, 0.64, precision="float32"))
    steady.run_epoch()
    assert steady.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_weight_decay_adds_a_share_of_each_parameter_to_its_gradient_and_nothing_need_be_clipped(
    optimizer: str,
) -> None:
    config = TrainConfig(1, 5, 0.7, clip_norm=None, precision="float32", optimizer=optimizer, weight_decay=0.3)  # type: ignore[arg-type]
    ours, plain = begun(config), begun(replace(config, weight_decay=0.0))
    ours.run_epoch()

    def decayed() -> None:
        for p in plain.parameters.values():
            p.grad += 0.3 * p.detach()

    plain.learner.after_backward = decayed  # type: ignore[method-assign]
    plain.run_epoch()
    clipped = begun(replace(config, clip_norm=1e-3))
    clipped.run_epoch()
    for name, parameter in ours.parameters.items():
        torch.testing.assert_close(parameter, plain.parameters[name])
        assert not torch.allclose(parameter, clipped.parameters[name])


def test_the_first_task_may_have_a_rate_and_a_decay_of_its_own() -> None:
    config = TrainConfig(
        1, 4, 0.64, "cosine", weight_decay=0.2, first_task_learning_rate=0.064, first_task_weight_decay=0.5
    )
    learner, classes = SPEC.build(tiny_backbone(), 0), ClassTable()
    found = []
    for task in range(3):
        training = begin_training(learner, classes, task_data(task), "", config)
        (group,) = training.optimizer.param_groups
        found.append((group["lr"], training.rate, group["weight_decay"]))
        training.run_epoch()
        training.finish()
    assert found == [pytest.approx(values) for values in ((0.001, 0.001, 0.5), *[(0.01, 0.01, 0.2)] * 2)]
    plain = TrainConfig(weight_decay=0.2)
    assert [plain.of_task(task) for task in range(2)] == [plain, plain]


def test_each_step_is_told() -> None:
    told: list[tuple[int, int]] = []
    begun(TRAIN).run_epoch(lambda *step: told.append(step))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_last_batch_may_be_smaller() -> None:
    training = begun(TrainConfig(1, 7, 1.0, precision="float32"))
    assert training.run_epoch().samples == 12 and len(training.loader) == 2


def test_seeds_change_what_is_drawn_and_nothing_else_does() -> None:
    def heads(seed: int) -> torch.Tensor:
        torch.rand(1)  # the global generator must not matter
        training = begun(TRAIN, seed)
        training.run_epoch()
        return training.learner.network.heads.slot(0)["weight"].detach().clone()

    assert torch.equal(heads(0), heads(0)) and not torch.equal(heads(0), heads(1))


def test_without_augmentation_every_epoch_sees_the_same_inputs() -> None:
    plain, random = (begun(TrainConfig(1, 12, 1.0, augment=a, precision="float32")) for a in (False, True))

    def epochs(training: TaskTraining) -> list[torch.Tensor]:
        found = [next(training.loader.epoch(seed)) for seed in (0, 1)]
        return [x.flatten(1).sum(1).sort().values for x, _, _ in found]

    assert torch.equal(*epochs(plain)) and not torch.equal(*epochs(random))


def test_a_state_of_another_learner_is_refused() -> None:
    learner = LinearHead().build(tiny_backbone(), 0)
    other = begin_training(learner, ClassTable(), task_data(0), "first", TRAIN)
    with pytest.raises(UserError, match="the checkpoint: .parameter.* is missing"):
        begun(TRAIN).load_state(other.state())


def test_a_state_loaded_is_a_copy_of_its_own() -> None:
    config = TrainConfig(4, 8, 1.0, precision="float32")
    source = begun(config)
    source.run_epoch()
    state = {name: value.clone() for name, value in source.state().items()}
    kept = {name: value.clone() for name, value in state.items()}
    target = begun(config)
    target.load_state(state)
    target.run_epoch()
    changed = [name for name, value in state.items() if not torch.equal(value, kept[name])]
    assert not changed


@pytest.mark.parametrize(
    "settings",
    [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": float("inf")}, {"clip_norm": -1.0}]
    + [
        {"weight_decay": -0.1},
        {"first_task_learning_rate": 0.0},
        {"first_task_weight_decay": float("nan")},
        {"warmup": -1},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        TrainConfig(**settings)


@pytest.mark.parametrize("every", [1, 2, 50])
def test_a_loss_that_is_not_finite_is_found_at_its_own_step(every: int) -> None:
    watch = LossWatch(task=4, epoch=1, every=every)
    with pytest.raises(TrainingError, match="matching loss became inf in task 5, epoch 2, step 2;"):  # noqa: PT012
        for value in (1.0, float("inf"), 2.0):
            watch.add({"cross_entropy": torch.tensor(1.0), "matching": torch.tensor(value)})
        watch.means()
    fine = LossWatch(0, 0, every)
    for value in (1.0, 2.0, 6.0):
        fine.add({"a": torch.tensor(value), "b": torch.tensor(0.0)})
    assert fine.means() == {"a": 3.0, "b": 0.0}


def test_no_gradient_reaches_a_finished_task() -> None:
    learner = learned(SPEC, 1).learner
    learner.open_slots(2)
    assert not any(p.requires_grad for m in learner.slot_modules().values() for p in m.slot(0).values())
    learner.close_slots()
    assert not any(p.requires_grad for m in learner.slot_modules().values() for p in m.slot(1).values())


# --- Queries that stay the same -----------------------------------------------------------------------------------


def batches_of(training: TaskTraining, monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """What the learner reads in one epoch."""
    seen: list[Batch] = []
    true_loss = training.learner.loss

    def loss(batch: Batch) -> dict[str, torch.Tensor]:
        seen.append(batch)
        return true_loss(batch)

    monkeypatch.setattr(training.learner, "loss", loss)
    training.run_epoch()
    return seen


@pytest.mark.parametrize("augment", [True, False])
def test_a_clean_query_is_that_of_the_unaugmented_image_of_its_row(
    augment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begun(TrainConfig(1, 5, 0.7, augment=augment, clean_query=augment, precision="float32"))
    backbone, examples = training.learner.network.backbone, task_data(0)
    preparation = replace(backbone.preparation, augment=False)
    batches = batches_of(training, monkeypatch)
    assert sorted(torch.cat([b.rows for b in batches]).tolist()) == list(range(12))
    augmented = []
    for batch in batches:
        assert [examples.classes[t] for t in batch.targets] == [examples.labels[i] for i in batch.rows]
        for row, query, seen in zip(batch.rows.tolist(), batch.query, batch.inputs, strict=True):
            loaded = preparation.load_train(examples[row], "")[None]
            clean = preparation.augment_batch(loaded, "cpu", torch.Generator())
            expected = backbone.pool(backbone.run(backbone.embed(clean), 0, backbone.depth))[0]
            torch.testing.assert_close(query, expected, rtol=0, atol=1e-4)
            augmented.append(not torch.allclose(seen, clean[0], atol=1e-6))
    assert any(augmented) == augment


def test_an_augmented_image_has_a_query_of_its_own_unless_a_clean_one_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert all(batch.query is None for batch in batches_of(begun(TRAIN), monkeypatch))
    ends = []
    for clean_query in (False, True):
        training = begun(replace(TRAIN, clean_query=clean_query, clip_norm=1e9))  # else the key's gradient scales all
        training.run_epoch()
        ends.append(snapshot(training.learner))
    differ = {name for name, value in ends[0].items() if not torch.equal(value, ends[1][name])}
    assert differ == {"0/task_keys.key"}


def test_without_augmentation_every_query_is_clean_whether_asked_for_or_not() -> None:
    ends = []
    for clean_query in (False, True):
        training = begun(replace(TRAIN, augment=False, clean_query=clean_query))
        training.run_epoch()
        ends.append(snapshot(training.learner))
    assert_same(*ends)


def test_inputs_that_nothing_ever_augments_have_fixed_queries_without_being_asked() -> None:
    learner = SPEC.build(tiny_backbone(), 0)
    backbone = learner.network.backbone
    backbone.preparation = replace(backbone.preparation, augment=False)  # as that of a text
    assert begin_training(learner, ClassTable(), task_data(0), "first", TRAIN).queries is not None


def test_a_linear_head_on_kept_features_never_runs_the_backbone_again(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = LinearHead().build(tiny_backbone(), 0)
    training = begin_training(learner, ClassTable(), task_data(0), "first", replace(TRAIN, augment=False))
    training.run_epoch()
    monkeypatch.setattr(type(learner.network.backbone), "embed", lambda *_: pytest.fail("the backbone was run"))
    training.run_epoch()


def test_clean_queries_for_a_learner_that_matches_none_are_refused() -> None:
    model = classifier(LinearHead(), 1)
    before = snapshot(model.learner)
    with pytest.raises(UserError, match="train.clean_query: linear-head matches no query"):
        model.learn(task_data(1), config=replace(TRAIN, clean_query=True), progress=False)
    assert_same(snapshot(model.learner), before)
    assert model.num_tasks == 1


def test_seconds_that_an_earlier_run_took_for_queries_are_told_apart_and_once(tmp_path: Path) -> None:
    config = TrainConfig(2, 5, 0.7, augment=False, precision="float32")

    def again(seconds: float) -> TaskTraining:
        learner = SPEC.build(tiny_backbone(), 0)
        store = FeatureStore(tmp_path, learner.network.backbone.weights_hash(), print)
        training = begin_training(learner, ClassTable(), task_data(0), "first", config, store)
        assert training.queries is not None
        if seconds:
            with learner.computing_in(torch.float32):
                training.queries._known[torch.float32] = replace(training.queries.get(), seconds=seconds)
        return training

    first = again(0)
    assert first.run_epoch().kept == 0
    second = again(1000)
    reports = [second.run_epoch(), second.run_epoch()]
    assert [report.kept for report in reports] == pytest.approx([1000, 0], abs=1) and max(
        r.seconds for r in reports
    ) < 100
    resumed = again(1000)
    resumed.load_state(first.state())
    assert resumed.run_epoch().kept == 0


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_the_rate_climbs_along_a_line_and_then_the_schedule_begins(schedule: str) -> None:
    config = TrainConfig(3, 4, 0.64, schedule, precision="float32", warmup=4)  # type: ignore[arg-type]
    training, rates = begun(config), list[float]()
    for _ in range(3):
        training.run_epoch(lambda step, steps: rates.append(training.optimizer.param_groups[0]["lr"]))
    falling = {
        "constant": [0.01] * 5,
        "cosine": [0.005 * (1 + math.cos(math.pi * i / 5)) for i in range(5)],
        "linear": [0.01 * (1 - i / 5) for i in range(5)],
    }[schedule]
    assert rates == pytest.approx([0.0, 0.0025, 0.005, 0.0075, *falling])


def test_adamw_decays_parameters_at_their_own_rates_and_a_resumed_training_ends_the_same(tmp_path: Path) -> None:
    config = TrainConfig(
        4, 8, 1.6, "linear", None, precision="float32", optimizer="adamw", weight_decay=0.3, warmup=3, augment=True
    )

    def fresh() -> TaskTraining:
        learner = DualPrompt("none", 2, (3,), 2).new_learner(tiny_backbone(), 3)
        learner.network.heads.rate_factor = 5.0
        return begin_training(learner, ClassTable(), task_data(0), "first", config)

    whole = fresh()
    seen: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {name: [] for name in whole.parameters}
    step = whole.optimizer.step

    def watched() -> None:
        for name, parameter in whole.parameters.items():
            assert parameter.grad is not None
            seen[name].append((parameter.detach().clone(), parameter.grad.clone()))
        step()

    whole.optimizer.step = watched  # type: ignore[method-assign, assignment]
    while not whole.finished:
        whole.run_epoch()
    assert len(whole.optimizer.param_groups) == 2
    for name, steps in seen.items():
        mean, square = (torch.zeros_like(steps[0][0]) for _ in range(2))
        for number, (before, gradient) in enumerate(steps, 1):
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            share = (number - 1) / 3 if number <= 3 else 1 - (number - 4) / (len(steps) - 3)
            rate = 1.6 * 8 / 256 * share * (5 if name.startswith("head.") else 1)
            scaled = (mean / (1 - 0.9**number)) / ((square / (1 - 0.999**number)).sqrt() + 1e-8)
            after = steps[number][0] if number < len(steps) else whole.parameters[name].detach()
            torch.testing.assert_close(after, before * (1 - rate * 0.3) - rate * scaled, rtol=0, atol=1e-5)
    half = fresh()
    half.run_epoch()
    save_tensors(tmp_path / "state", half.state())
    resumed = fresh()
    resumed.load_state(load_tensors(tmp_path / "state"))
    while not resumed.finished:
        resumed.run_epoch()
    assert all(torch.equal(p, whole.parameters[n]) for n, p in resumed.parameters.items())


def test_sgd_steps_with_momentum_and_a_resumed_training_ends_the_same(tmp_path: Path) -> None:
    config = TrainConfig(4, 8, 1.6, "cosine", optimizer="sgd", clip_norm=1e9, precision="float32")

    def fresh() -> TaskTraining:
        learner = LinearHead().new_learner(tiny_backbone(), 3)
        return begin_training(learner, ClassTable(), task_data(0), "first", config)

    whole = fresh()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    weight = next(iter(whole.parameters.values()))
    step = whole.optimizer.step

    def watched() -> None:
        assert weight.grad is not None
        seen.append((weight.detach().clone(), weight.grad.clone()))
        step()

    whole.optimizer.step = watched  # type: ignore[method-assign, assignment]
    while not whole.finished:
        whole.run_epoch()
    velocity = torch.zeros_like(weight)
    for number, (before, gradient) in enumerate(seen):
        velocity = 0.9 * velocity + gradient
        rate = 1.6 * 8 / 256 * 0.5 * (1 + math.cos(math.pi * number / len(seen)))
        after = seen[number + 1][0] if number + 1 < len(seen) else weight.detach()
        torch.testing.assert_close(after, before - rate * velocity, rtol=0, atol=1e-5)
    half = fresh()
    half.run_epoch()
    save_tensors(tmp_path / "state", half.state())
    resumed = fresh()
    resumed.load_state(load_tensors(tmp_path / "state"))
    while not resumed.finished:
        resumed.run_epoch()
    assert all(torch.equal(p, whole.parameters[n]) for n, p in resumed.parameters.items())
