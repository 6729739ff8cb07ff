"""G- and E-prompts and keys: who shares them, what a new one starts as, and which sample gets which."""

import pytest
import torch

from softtf.adaptations.base import Selection
from softtf.adaptations.prefix import ExpertPrefix, GeneralPrefix, Length
from softtf.adaptations.task_keys import TaskKeys
from softtf.config.tree import check_value
from softtf.errors import UserError
from support.tiny import generator, noise


def experts(tasks: int = 3) -> ExpertPrefix:
    """E-prompts that differ between tasks, in float64."""
    prefix = ExpertPrefix((1, 2), 4, 6)
    for task in range(tasks):
        prefix.add_task(2, generator(task))
        for parameter in prefix.slot(task).values():
            parameter.data.copy_(noise(2, 4, 6, seed=task))
    return prefix.double()


def test_prompts_start_between_minus_one_and_one() -> None:
    general, expert = GeneralPrefix((0,), 50, 20, generator(0)), ExpertPrefix((1,), 50, 20)
    expert.add_task(2, generator(0))
    for values in (general.prompts["layer01_prefix"], expert.slot(0)["layer02_prefix"]):
        assert values.shape == (2, 50, 20)
        assert -1 <= values.min() < -0.98 and 0.98 < values.max() <= 1 and abs(values.mean()) < 0.05


def test_a_new_e_prompt_starts_as_the_previous_ones_copy() -> None:
    prefix = ExpertPrefix((1,), 4, 6)
    prefix.add_task(2, generator(0))
    prefix.slot(0)["layer02_prefix"].data.mul_(7)
    prefix.add_task(2, generator(1))
    old, new = (prefix.slot(t)["layer02_prefix"] for t in (0, 1))
    assert torch.equal(old, new)
    new.data.add_(1)
    assert not torch.equal(old, new)
    prefix.add_task(2, generator(2))
    assert torch.equal(prefix.slot(2)["layer02_prefix"], new)


def test_the_g_prompt_is_one_for_every_selection_and_no_tasks_own() -> None:
    prefix = GeneralPrefix((0, 2), 3, 6, generator(0))
    prefix.add_task(2, generator(0))
    assert not prefix.task_state_dict(0) and len(list(prefix.shared_parameters())) == 2
    assert prefix.shared_blocks == {0, 2} and not prefix.task_blocks
    for selection in (None, Selection(task=0), Selection(mixture=torch.ones(4, 1))):
        assert torch.equal(prefix.prefix(2, selection), prefix.prompts["layer03_prefix"][None])
        assert prefix.prefix(1, selection) is None


def test_the_e_prompt_of_a_task_of_each_sample_and_of_a_mixture() -> None:
    prefix = experts()
    own = torch.stack([prefix.slot(t)["layer03_prefix"] for t in range(3)])
    assert prefix.prefix(2, None) is None and prefix.prefix(0, Selection(task=1)) is None
    assert torch.equal(prefix.prefix(2, Selection(task=1)), own[1:2])
    alpha = torch.tensor([[0.2, 0.3, 0.5]]).double().expand(4, 3)
    mixed = 0.2 * own[0] + 0.3 * own[1] + 0.5 * own[2]
    torch.testing.assert_close(prefix.prefix(2, Selection(mixture=alpha)), mixed.expand(4, -1, -1, -1))
    chosen = torch.tensor([2, 0, 0, 1])
    found = prefix.prefix(2, Selection(mixture=alpha, prompts=chosen))
    assert torch.equal(found, own[chosen])


def test_keys_start_between_minus_one_and_one_and_are_drawn_anew() -> None:
    keys = TaskKeys(1000)
    draws = generator(0)
    keys.add_task(2, draws)
    keys.add_task(2, draws)
    first, second = keys.slot(0)["key"], keys.slot(1)["key"]
    assert -1 <= first.min() < -0.98 and 0.98 < first.max() <= 1 and abs(first.mean()) < 0.1
    assert not torch.equal(first, second)


def test_similarities_are_cosines_and_the_loss_is_one_minus_them() -> None:
    keys = TaskKeys(6)
    for task in range(3):
        keys.add_task(2, generator(task))
    keys.double()
    query = noise(4, 6)
    found = keys.similarities(query)
    for i in range(4):
        for t in range(3):
            k = keys.slot(t)["key"].detach()
            assert found[i, t].item() == pytest.approx(float(query[i] @ k / (query[i].norm() * k.norm())))
    assert keys.matching_loss(query, 1).item() == pytest.approx((1 - found[:, 1]).mean().item())


@pytest.mark.parametrize("length", [0, -5, 10_001])
def test_a_prompt_without_tokens_or_with_too_many_is_refused(length: int) -> None:
    with pytest.raises(UserError, match="e_length must be between 1 and 10,000"):
        check_value(Length, length, "e_length")
