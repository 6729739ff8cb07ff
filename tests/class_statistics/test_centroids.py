"""k-means and the nearness to a task's centroids, against the obvious loops."""

import pytest
import torch
from threadpoolctl import threadpool_limits
from torch.nn import functional as F

from softtf.statistics import Share
from softtf.statistics.centroids import TaskCentroids, k_means
from support.tiny import noise
from support.tracing import Traced


def test_every_centroid_is_the_mean_of_the_points_nearest_to_it() -> None:
    points = noise(80, 5, seed=1)
    centroids, own = k_means(points, 6, 0)
    nearest = [min(range(6), key=lambda k: float((p - centroids[k]).norm())) for p in points]
    assert own.tolist() == nearest
    for k in range(6):
        members = [p for p, place in zip(points, nearest, strict=True) if place == k]
        torch.testing.assert_close(centroids[k], sum(members) / len(members))


@pytest.mark.parametrize("threads", [1, 4])
def test_the_seed_decides_whatever_the_threads(threads: int) -> None:
    points = noise(2000, 8)  # several of the pieces that threads share out
    once = k_means(points, 6, 3)[0]
    with threadpool_limits(threads):
        assert all(torch.equal(k_means(points, 6, 3)[0], once) for _ in range(3))
    assert not torch.equal(k_means(points, 6, 4)[0], once)


def test_the_order_of_rows_does_not_matter_to_clear_clusters() -> None:
    points, order = torch.cat([50 * k + noise(12, 4, seed=k) for k in range(5)]), torch.randperm(60)
    once, shuffled = k_means(points, 5, 0)[0], k_means(points[order], 5, 0)[0]
    torch.testing.assert_close(*(found[found[:, 0].argsort()] for found in (once, shuffled)))


def test_nearness_holds_no_cube() -> None:
    points, known = noise(3000, 64).float(), {"centroids": noise(50, 64).float(), "tasks": torch.arange(50) // 10}
    with Traced() as traced:
        TaskCentroids(6, 10, 0).nearness(known, points)
    assert traced.largest == points.numel()  # the unit features; the cube would be 50 times them


def test_well_separated_clusters_are_found() -> None:
    middles = 50 * noise(7, 4, seed=2)
    points = torch.cat([m + noise(12, 4, seed=k) for k, m in enumerate(middles)])
    found = k_means(points, 7, 3)[0]
    assert torch.cdist(middles, found).amin(1).max() < 2 and torch.cdist(found, middles).amin(1).max() < 2


@pytest.mark.parametrize(("points", "count", "expected"), [(3, 10, 3), (1, 4, 1), (10, 1, 1)])
def test_there_are_no_more_centroids_than_different_points(points: int, count: int, expected: int) -> None:
    different = noise(points, 4)
    found = k_means(torch.cat([different, different]), count, 0)[0]
    assert len(found) == expected and found.isfinite().all()


def test_nearness_is_minus_the_squared_distance_to_a_tasks_nearest() -> None:
    statistics = TaskCentroids(6, 3, 0)
    shares: list[Share] = []
    for task in range(3):
        columns = 2 * task + torch.arange(20) % 2
        share, known = statistics.learn(shares, noise(20, 6, seed=task), columns, torch.arange(2 * task + 2))
        shares.append(share)
    assert known["tasks"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    features = noise(4, 6, seed=9).float()
    for row, feature in zip(statistics.nearness(known, features), features, strict=True):
        unit = F.normalize(feature, dim=0)
        for task in range(3):
            own = [c for c, t in zip(known["centroids"], known["tasks"], strict=True) if t == task]
            assert float(row[task]) == pytest.approx(-min(float((unit - c).square().sum()) for c in own), abs=1e-6)


def test_what_was_gathered_before_stays_and_the_seed_decides() -> None:
    data = [(noise(30, 6, seed=t), torch.arange(30) % 3 + 3 * t) for t in range(2)]
    share, first = TaskCentroids(6, 4, 0).learn([], *data[0], torch.arange(3))
    _, both = TaskCentroids(6, 4, 0).learn([share], *data[1], torch.arange(6))
    assert torch.equal(both["centroids"][:4], first["centroids"]) and len(first["centroids"]) == 4
    again, other = (TaskCentroids(6, 4, seed).learn([], *data[0], torch.arange(3))[1] for seed in (0, 1))
    assert torch.equal(again["centroids"], first["centroids"])
    assert not torch.equal(other["centroids"], first["centroids"])


@pytest.mark.parametrize("per_class", [1, 2])
def test_a_few_examples_are_enough(per_class: int) -> None:
    columns = torch.arange(2 * per_class) % 2
    _, found = TaskCentroids(6, 5, 0).learn([], noise(2 * per_class, 6), columns, torch.arange(2))
    assert 1 <= len(found["centroids"]) <= 2 * per_class and found["temperature"] > 0
