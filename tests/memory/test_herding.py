"""Herding against the greedy choice written out."""

import pytest
import torch
from torch import Tensor

from softtf.memory import herd
from support.tiny import noise


def greedy(features: Tensor, count: int) -> list[int]:
    """Each time try every example that is left."""
    mean, chosen = features.mean(0), []
    for _ in range(min(count, len(features))):
        left = [i for i in range(len(features)) if i not in chosen]
        chosen.append(min(left, key=lambda i: float((features[[*chosen, i]].mean(0) - mean).norm())))
    return chosen


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 4, 17, 30])
def test_it_is_the_greedy_choice(count: int, seed: int) -> None:
    features = noise(17, 6, seed=seed)
    assert herd(features, count).tolist() == greedy(features, count)


def test_fewer_are_the_first_of_more_and_all_are_everything_once() -> None:
    features = noise(20, 4)
    order = herd(features).tolist()
    assert sorted(order) == list(range(20))
    for count in range(1, 21):
        assert herd(features, count).tolist() == order[:count]


def test_equal_examples_are_taken_one_after_another() -> None:
    assert herd(torch.ones(4, 3), 3).tolist() == [0, 1, 2]


def test_the_chosen_few_have_nearly_the_mean_of_all() -> None:
    features = noise(200, 8)
    mean = features.mean(0)
    random = torch.stack([(features[i * 10 : i * 10 + 10].mean(0) - mean).norm() for i in range(20)])
    assert (features[herd(features, 10)].mean(0) - mean).norm() < random.min() / 2
