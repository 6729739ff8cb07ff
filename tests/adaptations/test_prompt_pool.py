"""The pool of prompts: which ones a sample takes, and where they go."""

import pytest
import torch
from torch import Tensor

from softtf.adaptations.prompt_pool import PromptPool
from softtf.backbones.base import Tokens
from support.tiny import generator, noise


def pool(size: int = 7, length: int = 2, top_k: int = 3, dim: int = 6) -> PromptPool:
    return PromptPool(size, length, top_k, dim, 1.0, generator(0)).double()


def reference(pool: PromptPool, query: Tensor) -> list[list[int]]:
    """For each sample the pool's indices of its top_k keys by cosine, lowest first."""
    found = []
    for q in query:
        cosines = [float(q @ k / (q.norm() * k.norm())) for k in pool.keys.detach()]
        best = sorted(range(len(cosines)), key=lambda i: -cosines[i])[: pool.top_k]
        found.append(sorted(best))
    return found


@pytest.mark.parametrize("top_k", [1, 3, 7])
def test_each_sample_takes_the_prompts_of_its_nearest_keys_in_the_pools_order(top_k: int) -> None:
    ours, query = pool(top_k=top_k), noise(20, 6, seed=1)
    expected = reference(ours, query)
    assert ours.chosen(query).tolist() == expected
    assert len(set(map(tuple, expected))) > 3 or top_k == 7
    prepended = ours.prepended(query)
    for i, indices in enumerate(expected):
        assert torch.equal(prepended[i], torch.cat([ours.prompts[j] for j in indices]))


def test_a_sample_takes_the_same_prompts_in_any_batch_and_order() -> None:
    ours, query = pool(), noise(30, 6, seed=2)
    whole = ours.chosen(query)
    order = torch.randperm(30, generator=generator(1))
    assert torch.equal(ours.chosen(query[order]), whole[order])
    assert torch.equal(torch.cat([ours.chosen(q[None]) for q in query]), whole)


def test_the_length_of_query_and_keys_does_not_count() -> None:
    ours, query = pool(), noise(10, 6, seed=3)
    before = ours.chosen(query)
    ours.keys.data *= torch.arange(1.0, 8.0)[:, None]
    assert torch.equal(ours.chosen(query * torch.rand(10, 1).double()), before)


def test_the_matching_loss_pulls_the_chosen_keys_only() -> None:
    ours, query = pool(), noise(4, 6, seed=4)
    chosen = reference(ours, query)
    expected = sum(
        1 - query[i] @ ours.keys[j] / (query[i].norm() * ours.keys[j].norm()) for i in range(4) for j in chosen[i]
    )
    loss = ours.matching_loss(query)
    torch.testing.assert_close(loss, expected / 4)
    (gradient,) = torch.autograd.grad(loss, ours.keys)
    pulled = {j for row in chosen for j in row}
    assert {j for j in range(7) if gradient[j].abs().max() > 0} == pulled and len(pulled) < 7
    moved = pool()
    moved.keys.data -= 0.01 * gradient
    assert (moved.similarities(query) - ours.similarities(query)).gather(1, ours.chosen(query)).sum() > 0


def test_keys_and_prompts_start_in_their_ranges_and_belong_to_no_task() -> None:
    ours = PromptPool(50, 4, 5, 20, 0.1, generator(0))
    assert ours.prompts.shape == (50, 4, 20) and -1 <= ours.prompts.min() < -0.98 and 0.98 < ours.prompts.max() <= 1
    assert ours.keys.shape == (50, 20) and 0.098 < ours.keys.abs().max() <= 0.1
    ours.add_task(2, generator(1))
    assert not ours.task_state_dict(0) and [n for n, _ in ours.shared_parameters()] == ["prompts", "keys"]
    assert ours.shared_blocks == {0} and not ours.task_blocks


def test_prepended_tokens_come_first_are_real_and_are_what_is_read() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    tokens, prompt = Tokens(noise(2, 3, 6), mask, read=1), noise(2, 4, 6, seed=1).float()
    found = tokens.prepend(prompt)
    assert torch.equal(found.x[:, :4], prompt.double()) and torch.equal(found.x[:, 4:], tokens.x)
    assert found.read == 4 and found.mask[:, :4].all() and torch.equal(found.mask[:, 4:], mask)
    assert Tokens(tokens.x).prepend(prompt).mask is None


def test_batches_of_tokens_put_together_keep_what_is_read_and_what_is_real() -> None:
    parts = [Tokens(noise(2, 3, 6), torch.ones(2, 3).bool(), 2), Tokens(noise(1, 3, 6, seed=1), None, 2)]
    parts[1] = Tokens(parts[1].x, torch.zeros(1, 3).bool(), 2)
    whole = Tokens.cat(parts)
    assert torch.equal(whole.x, torch.cat([p.x for p in parts])) and whole.read == 2
    assert whole.mask.tolist() == [[True] * 3] * 2 + [[False] * 3]
    assert Tokens.cat([Tokens(noise(1, 2, 3), None, 1)] * 2).mask is None
