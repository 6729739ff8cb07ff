"""RanPAC's first phase: what it trains and when, against RanPAC on features of the adapted backbone."""

from dataclasses import replace

import pytest
import torch

from softtf.adaptations import AdaptationSpec, Adapter, BinaryMask, LoRA, NoAdaptation, SoftMask
from softtf.learners import RanPAC, RanPACFSA
from softtf.learners.class_table import ClassTable
from softtf.learners.ranpac_fsa import RanPACFSALearner
from softtf.network import SharedPass
from softtf.statistics import RandomRidge
from softtf.statistics.shares import Share
from softtf.training.closed_form import ClosedFormTraining
from softtf.training.data import begin_training
from support.tiny import CLASSES, inputs, snapshot, task_data, tiny_backbone, train_task
from support.tuned import PLAIN, cross_entropy, loss_of, whole_batch

ADAPTERS = Adapter("all", 3, "mlp")
KINDS = {"adapter": ADAPTERS, "mask": SoftMask((3, 4)), "LoRA": LoRA((4,), 2), "binary": BinaryMask((3, 4))}


def learned(spec: RanPACFSA, tasks: int = 3) -> RanPACFSALearner:
    learner, classes = spec.new_learner(tiny_backbone(), 3), ClassTable()
    for task in range(tasks):
        train_task(learner, classes, task)
    assert isinstance(learner, RanPACFSALearner)
    return learner


@pytest.mark.parametrize("adapt", KINDS.values(), ids=KINDS)
def test_the_first_task_alone_trains_and_all_tasks_have_its_network(adapt: AdaptationSpec) -> None:
    learner, classes, x = RanPACFSA(20, adapt=adapt).new_learner(tiny_backbone(), 3), ClassTable(), inputs(4)
    train_task(learner, classes, 0)
    first = {name: value for name, value in snapshot(learner).items() if name.startswith("0/")}
    assert any(name.startswith("0/") for name in first) and not any("first_head" in name for name in first)
    with torch.no_grad():
        features = learner.network.top(SharedPass(learner.network, x).trunk, task=0)
    for task in (1, 2):
        training = train_task(learner, classes, task)
        assert isinstance(training, ClosedFormTraining)
        slots = [s for name, s in learner.slot_modules().items() if name != "head"]
        assert all(not s.task_state_dict(task) and s.num_parameters(task) == 0 for s in slots)
    after = snapshot(learner)
    assert all(torch.equal(after[name], value) for name, value in first.items())
    with torch.no_grad():
        trunk = SharedPass(learner.network, x).trunk
        assert all(torch.equal(learner.network.top(trunk, task=task), features) for task in range(3))
        assert not torch.allclose(features, learner.network.query(SharedPass(learner.network, x).stem))


def test_phase_2_is_ranpacs_regression_on_the_adapted_features() -> None:
    learner, classes = RanPACFSA(20, adapt=ADAPTERS).new_learner(tiny_backbone(), 3), ClassTable()
    regression = RandomRidge(learner.network.backbone.dim, 20, 3)
    shares: list[Share] = []
    start = 0
    for task in range(3):
        loader = train_task(learner, classes, task).loader
        images = loader.prepared(loader.loaded(range(4 * CLASSES[task])))
        with torch.no_grad(), learner.computing_in(torch.float32):
            features = learner.network.top(SharedPass(learner.network, images).trunk, task=0)
        columns = torch.arange(CLASSES[task]).repeat_interleave(4) + start
        start += CLASSES[task]
        share, found = regression.learn(shares, features, columns, torch.arange(start))
        shares.append(share)
    weights = torch.cat([learner.network.heads.slot(t)["weight"] for t in range(3)])
    expected = (found.weights / found.temperature).T
    torch.testing.assert_close(weights, expected.to(weights), rtol=1e-3, atol=1e-3)


def test_without_an_adaptation_it_is_ranpac() -> None:
    ours, plain = learned(RanPACFSA(20, adapt=NoAdaptation())), RanPAC(20).new_learner(tiny_backbone(), 3)
    classes = ClassTable()
    for task in range(3):
        train_task(plain, classes, task)
    for task in range(3):
        for name, value in plain.network.heads.slot(task).items():
            torch.testing.assert_close(ours.network.heads.slot(task)[name], value, rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_cross_entropy_of_scaled_cosines() -> None:
    learner = RanPACFSA(20, adapt=ADAPTERS).new_learner(tiny_backbone(), 3)
    training = begin_training(learner, ClassTable(), task_data(0), "first", replace(PLAIN, epochs=2))
    learner.double()
    head = learner.extra_slots["first_head"].slot(0)  # type: ignore[operator]
    head["scale"].data.fill_(3.0)
    batch = whole_batch(training)
    with learner.computing_in(torch.float64):
        features = learner.network.top(SharedPass(learner.network, batch.inputs).trunk, task=0)
    rows = [
        [3 * float(f.detach() @ w / f.norm().detach() / w.norm()) for w in head["weight"].detach()] for f in features
    ]
    logits = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(
        loss_of(training, batch)["cross_entropy"].detach(), cross_entropy(logits, batch.targets.tolist())
    )
