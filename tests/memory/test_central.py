"""The most central members of clusters, against the obvious loops."""

import pytest
import torch

from softtf.memory import most_central
from softtf.statistics.centroids import k_means
from support.tiny import noise


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (6, 6), (90, 40)])
def test_of_each_cluster_the_member_nearest_to_its_centre(count: int, expected: int) -> None:
    features = noise(40, 5, seed=2)
    centres = k_means(features, count, 1)[0]
    own = [int((centres - f).norm(dim=1).argmin()) for f in features]
    wanted = []
    for cluster, centre in enumerate(centres):
        members = [i for i, place in enumerate(own) if place == cluster]
        if members:
            wanted.append(min(members, key=lambda i: float((features[i] - centre).norm())))
    found = most_central(features, count, 1)
    assert found.tolist() == wanted and len(found) == expected
    assert torch.equal(most_central(features, count, 1), found)
