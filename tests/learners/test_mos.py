"""MOS's pull and its retrieval, against slow loops."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from softtf.adaptations.continued_adapters import ContinuedAdapters
from softtf.errors import UserError
from softtf.learners import MOS, TUNA
from softtf.learners.class_table import ClassTable
from softtf.learners.contrasted import ContrastedLearner
from softtf.learners.mos import PROTOTYPES, ROUNDS, MOSLearner, refined
from softtf.network import SharedPass
from support.tiny import inputs, noise, tiny_backbone, train_task
from support.tuned import PLAIN, continued_adapters, trained

SPEC = MOS(rank=3, align_epochs=2, align_samples=6)


def learned(spec: MOS = SPEC, tasks: int = 3) -> MOSLearner:
    learner = trained(spec, tasks)
    assert isinstance(learner, MOSLearner)
    return learner


def test_after_each_step_the_adapter_moves_a_tenth_to_the_mean_of_the_earlier_ones() -> None:
    learner = learned()
    adapters = continued_adapters(learner)
    adapters.add_task(2, torch.Generator())
    start = {name: value.clone() + 1 for name, value in adapters.task_state_dict(3).items()}
    old = [adapters.task_state_dict(task) for task in range(3)]
    for name, value in adapters.slot(3).items():
        value.data.copy_(start[name])
    for _ in range(5):  # without gradients it nears the mean by 0.9 a step
        adapters.pull(0.1)
    for name, value in adapters.task_state_dict(3).items():
        mean = sum(slot[name] for slot in old) / 3
        torch.testing.assert_close(value - mean, 0.9**5 * (start[name] - mean), rtol=1e-4, atol=1e-5)
    first = MOS(rank=3).new_learner(tiny_backbone(), 3)
    first.open_slots(2)
    before = first.task_state_dict(0)
    continued_adapters(first).pull(0.1)
    assert all(torch.equal(value, before[name]) for name, value in first.task_state_dict(0).items())


def test_adapters_that_go_on_are_kept_exactly() -> None:
    for spec in (MOS, TUNA):
        with pytest.raises(UserError, match="storage"):
            spec(storage="int8")  # type: ignore[arg-type]


def test_the_training_loop_pulls_after_each_step() -> None:
    free, pulled = (learned(replace(SPEC, pull=pull), 2) for pull in (1e-9, 1.0))
    for name, value in continued_adapters(pulled).task_state_dict(1).items():
        torch.testing.assert_close(value, continued_adapters(pulled).task_state_dict(0)[name])
    assert any(not torch.allclose(v, continued_adapters(free).task_state_dict(0)[n]) for n, v in free_state(free))


def test_each_step_is_followed_by_one_pull_before_the_next_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step too; with pull=1.0 the pull at the task's end would hide that the others are missing."""
    events: list[str] = []

    def noted(kind: type, name: str) -> None:
        method = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda *args: events.append(name) or method(*args))

    noted(ContinuedAdapters, "pull")
    noted(ContrastedLearner, "loss")
    learner, classes = SPEC.new_learner(tiny_backbone(), 3), ClassTable()
    for task in range(2):
        events.clear()
        training = train_task(learner, classes, task, replace(PLAIN, epochs=2))
        assert events == ["loss", "pull"] * (2 * len(training.loader)) and len(training.loader) > 1


def free_state(learner: MOSLearner) -> list[tuple[str, Tensor]]:
    return list(continued_adapters(learner).task_state_dict(1).items())


def test_retrieval_is_the_slow_loops_for_each_sample_and_ends() -> None:
    tasks, batch = torch.tensor([0, 0, 1, 1, 2, 2]), 40
    start, answers = noise(batch, 6, seed=1), noise(3, batch, 6, seed=2)
    asked: list[tuple[int, int]] = []

    def answer(rows: Tensor, task: int) -> Tensor:
        asked.extend((row, task) for row in rows.tolist())
        return answers[task, rows]

    found = refined(answer, start, tasks)
    most = 0
    for b in range(batch):
        k = int(tasks[int(start[b].argmax())])
        rounds = 0
        while rounds < ROUNDS:
            rounds += 1
            z = answers[k, b]
            named = int(tasks[int(z.argmax())])
            if named == k:
                break
            k = named
        most = max(most, rounds)
        assert torch.equal(found[b], z) and sum(row == b for row, _ in asked) == rounds
    assert most == ROUNDS


@pytest.mark.parametrize("tasks", [1, 3])
def test_an_answer_adds_the_nearest_means_and_asking_twice_gives_the_same(tasks: int) -> None:
    learner, x = learned(tasks=tasks), inputs(5, 6)
    head = {name: value.double() for name, value in learner.aligned.items()}
    prototypes = learner.memory[PROTOTYPES].double()
    columns = learner.column_tasks().tolist()
    with torch.no_grad():
        trunk = SharedPass(learner.network, x).trunk
        found = learner.logits(trunk, 0)
        assert torch.equal(learner.logits(trunk, 0), found)
        tops = [learner.network.top(trunk, task=t) for t in range(tasks)]
    for b in range(5):
        cosines = torch.stack([p @ tops[0][b] / p.norm() / tops[0][b].norm() for p in prototypes])
        k = columns[int(cosines.argmax())]
        for _ in range(ROUNDS):
            z = head["weight"] @ tops[k][b] + head["bias"]
            if columns[int(z.argmax())] == k:
                break
            k = columns[int(z.argmax())]
        expected = (z.softmax(0) + (tasks * cosines).softmax(0)) / 2
        torch.testing.assert_close(found[b].softmax(0), expected, rtol=1e-4, atol=1e-6)
