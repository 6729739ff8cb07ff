"""CODA-Prompt's prefixes and losses, against slow loops over samples and components."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from softtf.adaptations import SoftMask
from softtf.adaptations.base import Selection
from softtf.adaptations.prompt_components import PromptComponents, orthonormal
from softtf.errors import UserError
from softtf.learners import CODAPrompt
from softtf.learners.class_table import ClassTable
from softtf.learners.coda_prompt import CODAPromptLearner
from softtf.network import SharedPass
from softtf.training.data import begin_training
from support.tiny import generator, inputs, learned, noise, task_data, tiny_backbone, train_task
from support.tuned import PLAIN, cross_entropy, loss_of, whole_batch

PLAIN_CODA = CODAPrompt((2, 3), 3, 4)
MASKED = CODAPrompt((1, 3), 2, 2, adapt=SoftMask((3, 4), init="uniform(0.5,1.5)"))


def components(tasks: int = 3) -> PromptComponents:
    found = PromptComponents((1, 2), 3, 4, 10)
    for task in range(tasks):
        found.add_task(2, generator(task))
        for number, value in enumerate(found.slot(task).values()):
            value.data.add_(0.3 * noise(*value.shape, seed=10 * task + number))
    return found.double()


def slow_prefix(adaptation: PromptComponents, block: int, q: Tensor, tasks: int) -> Tensor:
    """One sample's prefix [2, length / 2, dim]."""
    total = torch.zeros(4, 10, dtype=torch.float64)
    for task in range(tasks):
        slot = adaptation.slot(task)
        key, a, p = (slot[f"layer0{block + 1}_{part}"].detach() for part in ("keys", "attention", "prompts"))
        for m in range(3):
            attended = q * a[m]
            total += float(attended @ key[m] / attended.norm() / key[m].norm()) * p[m]
    return torch.stack([total[:2], total[2:]])


def test_a_prefix_is_the_weighted_sum_of_its_tasks_and_all_earlier_components() -> None:
    adaptation, query = components(), noise(5, 10, seed=4)
    for task in range(3):
        found = adaptation.prefix(1, Selection(task, query=query))
        assert found is not None
        expected = torch.stack([slow_prefix(adaptation, 1, q, task + 1) for q in query])
        torch.testing.assert_close(found, expected)
    assert adaptation.prefix(0, Selection(1, query=query)) is None and adaptation.prefix(1, None) is None


def test_a_mixture_is_the_mean_of_the_tasks_prefixes_and_prompts_name_a_task_for_each_sample() -> None:
    adaptation, query = components(), noise(4, 10, seed=4)
    alpha = torch.rand(4, 3, generator=generator(1), dtype=torch.float64).softmax(1)
    single = [adaptation.prefix(2, Selection(task, query=query)) for task in range(3)]
    mixed = adaptation.prefix(2, Selection(mixture=alpha, query=query))
    torch.testing.assert_close(mixed, sum(alpha[:, t, None, None, None] * single[t] for t in range(3)))  # type: ignore[operator]
    chosen = torch.tensor([2, 0, 1, 1])
    found = adaptation.prefix(2, Selection(mixture=alpha, prompts=chosen, query=query))
    torch.testing.assert_close(found, torch.stack([single[t][i] for i, t in enumerate(chosen.tolist())]))  # type: ignore[index]


def test_new_components_have_length_1_and_are_orthogonal_to_all_earlier_ones() -> None:
    earlier, new = noise(4, 10, seed=1), noise(3, 10, seed=2)
    found = orthonormal(torch.cat([earlier, new]), 3)
    torch.testing.assert_close(found @ found.T, torch.eye(3, dtype=torch.float64))
    assert float((earlier @ found.T).abs().max()) < 1e-9
    left = new[0] - torch.linalg.lstsq(earlier.T, new[0][:, None]).solution[:, 0] @ earlier  # Gram-Schmidt's first
    torch.testing.assert_close(found[0], left / left.norm())
    crowded = orthonormal(noise(12, 10, seed=3), 3)
    torch.testing.assert_close(crowded.norm(dim=1), torch.ones(3, dtype=torch.float64))


def test_right_after_a_first_tasks_start_nothing_is_lost_to_orthogonality() -> None:
    fresh = PromptComponents((1, 2), 3, 4, 10)
    fresh.add_task(2, generator(0))
    assert float(fresh.orthogonality().detach()) < 1e-9
    moved = components(2)
    total = 0.0
    for block in (2, 3):
        for part in ("keys", "attention", "prompts"):
            rows = [moved.slot(t)[f"layer0{block}_{part}"].detach().flatten(1) for t in range(2)]
            x = torch.cat(rows)
            total += float(((x @ x.T - torch.eye(6)) ** 2).mean())
    assert float(moved.orthogonality().detach()) == pytest.approx(total)


@pytest.mark.parametrize("spec", [PLAIN_CODA, MASKED], ids=["plain", "masks"])
def test_old_networks_stay_as_they_are_and_the_newest_answers_where_there_are_no_masks(spec: CODAPrompt) -> None:
    learner, classes, x = spec.new_learner(tiny_backbone(), 3), ClassTable(), inputs(4)
    kept: list[Tensor] = []
    for task in range(3):
        train_task(learner, classes, task)
        with torch.no_grad():
            trunk = SharedPass(learner.network, x).trunk
            tops = [learner.network.top(trunk, task=t) for t in range(task + 1)]
            assert all(torch.equal(now, before) for now, before in zip(tops, kept, strict=False))
            kept = tops
            answers = [learner.logits(trunk, t) for t in range(task + 1)]
    assert not torch.allclose(kept[0], kept[2])
    same = all(torch.equal(answer, answers[2]) for answer in answers)
    assert same == (spec is PLAIN_CODA) and learner.task_inferences[:1] == (() if same else ("prompt-id",))


def test_the_losses_are_cross_entropy_the_weighted_orthogonality_and_the_keys() -> None:
    spec = replace(MASKED, orthogonality=0.7, key_weight=0.3)
    learner, classes = spec.new_learner(tiny_backbone(), 3), ClassTable()
    train_task(learner, classes, 0)
    training = begin_training(learner, classes, task_data(1), "second", PLAIN)
    learner.double()
    assert isinstance(learner, CODAPromptLearner)
    batch = whole_batch(training)
    losses = loss_of(training, batch)
    with learner.computing_in(torch.float64), torch.no_grad():
        shared = SharedPass(learner.network, batch.inputs)
        logits = learner.network.heads(learner.network.top(shared.trunk, task=1), range(1, 2))
        key = learner.extra_slots["task_keys"].slot(1)["key"]  # type: ignore[operator]
        cosines = [float(q @ key / q.norm() / key.norm()) for q in shared.query]
    torch.testing.assert_close(losses["cross_entropy"], cross_entropy(logits, [t - 3 for t in batch.targets.tolist()]))
    torch.testing.assert_close(losses["orthogonality"], 0.7 * learner.components.orthogonality())
    assert float(losses["task_matching"].detach()) == pytest.approx(0.3 * (1 - sum(cosines) / len(cosines)))


def test_answers_are_each_samples_own() -> None:
    model = learned(PLAIN_CODA)
    x = inputs(6, 2)
    with torch.no_grad(), model.learner.computing_in(torch.float64):
        whole = model.learner.logits(SharedPass(model.learner.network, x).trunk, 0)
        alone = [model.learner.logits(SharedPass(model.learner.network, x[i : i + 1]).trunk, 0) for i in range(6)]
    torch.testing.assert_close(torch.cat(alone), whole)


@pytest.mark.parametrize(("settings", "words"), [({"length": 3}, "even"), ({"components": 0}, "components must be")])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, int], words: str) -> None:
    with pytest.raises(UserError, match=words):
        CODAPrompt(**settings)  # type: ignore[arg-type]
