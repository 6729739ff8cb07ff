"""Several centroids per task: the task descriptors of MCG, by k-means on frozen features.

Cai et al., "Multi-Centroid Task Descriptor for Dynamic Class Incremental Inference", CVPR 2023. A task's data form
several clusters, so the nearest centroid tells the task. The paper trains a small network, apart from the extractors,
that pulls centroids to the samples matched with them. Here the features are the frozen backbone's and the centroids
come from k-means, so nothing is trained.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.files.tensor_form import Forms, TensorForm, in_runs
from softtf.seeds import derive_seed
from softtf.statistics.base import SharedStatistics
from softtf.statistics.shares import Share, own_share, side_by_side
from softtf.statistics.temperature import POSITIVE, FittedMean, first_of_five, fit_temperature

TEMPERATURE = FittedMean("temperatures", default=1.0)
EXACT = "donot_use_mm_for_euclid_dist"  # with matrix products, rounding would depend on the size of the batch


class TaskCentroids(SharedStatistics):
    """At most `amount` centroids of each task's normalised features, and the temperature of the distances."""

    name = "mcg"
    setting = "mcg"
    amount = 10
    fitted = "temperature"

    def forms(self, labels: Tensor, tasks: int) -> Forms:
        """Return the forms of the centroids, of their tasks and of the temperature."""
        centroids = {"centroids": TensorForm(("centroids", self.dim)), "tasks": in_runs("centroids", tasks)}
        return {**centroids, "temperature": POSITIVE}

    def share_forms(self, labels: Tensor, tasks: int) -> Forms:
        """Return the forms of the centroids, of their tasks and of the temperatures' mean."""
        return {
            **{n: f for n, f in self.forms(labels, tasks).items() if n != "temperature"},
            TEMPERATURE.name: TEMPERATURE.form,
        }

    def learn(
        self, before: Sequence[Share], features: Tensor, columns: Tensor, labels: Tensor
    ) -> tuple[Share, dict[str, Tensor]]:
        """Return the newest task's centroids and temperature, and those of all.

        A fifth of the task's examples is held out: every fifth of a class. The centroids are those of the rest. The
        temperature minimises the mean negative log-likelihood of the held-out examples' task; it is averaged over
        tasks.
        """
        task = _count(before)
        held = first_of_five(columns)
        new = k_means(F.normalize(features[~held].double()), self.amount, derive_seed(self.seed, task))[0].float()
        nothing = TEMPERATURE.kept(None, 0.0)
        share = Share(
            {"centroids": new, "tasks": torch.zeros(len(new), dtype=torch.int64), **nothing},
            own_share(before, columns, labels)[1],
        )
        chosen = None
        if task and held.any():
            scores = self.nearness(self.combined([*before, share]), features[held].float())
            chosen = fit_temperature(scores, torch.full((len(scores),), task))
        share = share._replace(tensors={**share.tensors, **TEMPERATURE.kept(chosen, float(held.sum()))})
        return share, self.combined([*before, share])

    def united(self, shares: Sequence[Share]) -> Mapping[str, Tensor]:
        """Return the centroids of the tasks of some shares; they are as many as before."""
        temperatures = TEMPERATURE.joined(*(share.tensors for share in shares))
        return {n: v for n, v in self.combined(shares).items() if n != "temperature"} | temperatures

    def combined(self, shares: Sequence[Share]) -> dict[str, Tensor]:
        """Return `centroids` [centroids of all tasks, dim], `tasks` [same length] and the temperature."""
        first, tasks = 0, []
        for share in shares:
            tasks.append(share.tensors["tasks"] + first)
            first += _count([share])
        temperature = torch.tensor(TEMPERATURE.value(*(share.tensors for share in shares)))
        return {"centroids": side_by_side(shares, "centroids"), "tasks": torch.cat(tasks), "temperature": temperature}

    def without(self, share: Mapping[str, Tensor], kept: Tensor) -> Mapping[str, Tensor]:
        """Return the share as it is: centroids are of a task, not of its classes."""
        return share

    def joined(self, one: Share, more: Share) -> Mapping[str, Tensor]:
        """Return at most `amount` centroids of a task's centroids and those of more of its examples."""
        both = torch.cat([one.tensors["centroids"], more.tensors["centroids"]]).double()
        found = k_means(both, self.amount, derive_seed(self.seed, "joined"))[0].float()
        tasks = torch.zeros(len(found), dtype=torch.int64)
        return {"centroids": found, "tasks": tasks, **TEMPERATURE.joined(one.tensors, more.tensors)}

    def nearness(self, known: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """Return minus the squared distance [n, tasks] of normalised features to each task's nearest centroid."""
        centroids, tasks = known["centroids"].to(features), known["tasks"].to(features.device)
        unit = F.normalize(features)
        own = centroids.split(torch.bincount(tasks).tolist())
        return torch.stack([-torch.cdist(unit, some, compute_mode=EXACT).amin(1).square() for some in own], 1)


def _count(shares: Sequence[Share]) -> int:
    """Return how many tasks some shares cover."""
    return sum(int(share.tensors["tasks"][-1]) + 1 for share in shares)


def k_means(points: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return at most `count` centroids [k, dim] of points [n, dim], and the index [n] of each point's own centroid.

    There are no more centroids than different points. It runs in one thread: several would add up a centroid's points
    in no fixed order.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    most = min(count, len(points.unique(dim=0)))
    with threadpool_limits(1, user_api="openmp"):
        found = KMeans(most, n_init=1, random_state=seed % 2**32).fit(points.numpy())
    return torch.from_numpy(found.cluster_centers_), torch.from_numpy(found.labels_).long()
