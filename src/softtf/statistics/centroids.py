"""Several centroids per task: the task descriptors of MCG, by k-means on frozen features.

Cai et al., "Multi-Centroid Task Descriptor for Dynamic Class Incremental Inference", CVPR 2023: a task's data form
several clusters, so that a task is told by the nearest of its centroids, and these are learned apart from the
extractors. There a small network is trained for it, by pulling centroids to samples that a matching assigns to them;
here its features are the frozen backbone's and the centroids are k-means', so that no step is taken.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.seeds import derive_seed
from softtf.statistics.base import FeatureStatistics
from softtf.statistics.temperature import FittedMean, first_of_five, fit_temperature

ROUNDS = 100
TEMPERATURE = FittedMean("temperatures", default=1.0)


class TaskCentroids(FeatureStatistics):
    """At most `count` centroids of each task's unit features, and the temperature of their distances.

    Args:
        count: centroids per task.
        seed: of the first centroids.
    """

    def __init__(self, count: int, seed: int) -> None:
        super().__init__()
        self.count, self.seed = count, seed

    def gather(
        self, known: Mapping[str, Tensor], features: Tensor, columns: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Return `centroids` [all tasks' together, dim], `tasks` [as many] and the temperature.

        The temperature is the one under which a fifth of a task's examples, the first of each five of a class, tell
        their task best (least mean negative log-likelihood) when it is learned, in the mean over tasks; the centroids
        are those of the others.
        """
        task = int(known["tasks"][-1]) + 1 if known else 0
        held = first_of_five(columns)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, task))
        new = k_means(F.normalize(features[~held].double()), self.count, generator).float()
        tasks = torch.full((len(new),), task)
        if known:
            new, tasks = torch.cat([known["centroids"], new]), torch.cat([known["tasks"], tasks])
        found = {"centroids": new, "tasks": tasks}
        chosen = None
        if task and held.any():
            scores = self.nearness(found, features[held].float())
            chosen = fit_temperature(scores, torch.full((len(scores),), task))
        mean = TEMPERATURE.add(known, chosen, float(held.sum()))
        return found | mean | {"temperature": torch.tensor(TEMPERATURE.value(mean))}

    def nearness(self, known: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """Return minus the squared distance [n, tasks] of unit features to each task's nearest centroid."""
        centroids, tasks = known["centroids"].to(features), known["tasks"].to(features.device)
        distances = (F.normalize(features)[:, None] - centroids).square().sum(2)
        return torch.stack([-distances[:, tasks == t].amin(1) for t in range(int(tasks[-1]) + 1)], 1)


def k_means(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return at most `count` centroids [k, dim] of points [n, dim]: k-means++ seeds, then Lloyd's rounds."""
    first = int(torch.randint(len(points), (), generator=generator))
    centroids = points[first : first + 1]
    while len(centroids) < count:
        nearest = torch.cdist(points, centroids).amin(1).square()
        if not nearest.any():
            break  # every point is a centroid
        centroids = torch.cat([centroids, points[torch.multinomial(nearest, 1, generator=generator)]])
    for _ in range(ROUNDS):
        own = torch.cdist(points, centroids).argmin(1)
        sizes = torch.bincount(own, minlength=len(centroids))
        sums = torch.zeros_like(centroids).index_add_(0, own, points)
        moved = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centroids)
        if torch.equal(moved, centroids):
            break
        centroids = moved
    return centroids
