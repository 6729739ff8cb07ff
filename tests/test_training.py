"""The training loop: the step it takes, the rate, and what it reports."""

import math

import pytest
import torch

from contracts.tiny import TRAIN, learned, task_data, tiny_backbone
from softtf.classes import ClassTable
from softtf.errors import TrainingError, UserError
from softtf.feeding import begin_training
from softtf.learners import DualPrompt, LinearHead
from softtf.seeds import derive_seed
from softtf.training import LossWatch, TaskTraining, TrainConfig

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
        for x, targets in plain.loader.epoch(derive_seed(plain.learner.seed, 0, epoch)):
            with plain.learner.computing_in(torch.float32):
                losses = plain.learner.loss(x, targets)
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
        return [x.flatten(1).sum(1).sort().values for x, _ in found]

    assert torch.equal(*epochs(plain)) and not torch.equal(*epochs(random))


def test_a_state_of_another_learner_is_refused() -> None:
    learner = LinearHead().build(tiny_backbone(), 0)
    other = begin_training(learner, ClassTable(), task_data(0), "first", TRAIN)
    with pytest.raises(UserError, match="other parameters"):
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
    [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": float("inf")}, {"clip_norm": -1.0}],
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
    learner.begin_task(2)
    assert not any(p.requires_grad for m in learner.slot_modules().values() for p in m.slot(0).values())
    learner.end_task()
    assert not any(p.requires_grad for m in learner.slot_modules().values() for p in m.slot(1).values())
