"""Gradient ID minus an offset per task: the part of its score that does not depend on the input.

The gradient prefers tasks of many classes or many steps, whose networks are certain of any input. This is an option of
ours; neither supermasks nor Soft-TransFormers have it. When a task ends, some of its training examples are scored for
all tasks so far. `softtf.statistics.task_offsets` keeps the mean scores and fits the offsets. It needs no data of
earlier tasks and no test data. It costs Gradient ID's answers to these examples when a task ends, T (T + 1) / 2 + T
values to keep, and nothing at prediction.

Chosen on data held back from training, with one seed. All values are percent of tasks inferred correctly, with offsets
and, in brackets, without. CIFAR-100 in tasks of 2, 8, 4, 10 and 3 classes: 77.5 (57.5) in groups of 24, 38.0 (37.6) per
sample. Tasks of 4 classes each, where nothing is biased: 87.5 (90.0; one group of 40 differs) and 43.1 (43.5). Five
text sets: 57.5 (40.0) and 45.4 (38.8). With each sample's scores divided by their deviation, images had 82.5 and 37.9,
texts 47.5 and 42.6. A ridge of 0.1 instead of 1 lowers the images to 40.0 and 33.7: it trusts the newest task's offset
too much, which is known from that task's own data alone.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from softtf.inference.entropy_gradient import GradientID
from softtf.learners.base import Learner
from softtf.network import SharedPass
from softtf.statistics import TaskOffsets
from softtf.streams import Loader


class GradientIDOffset(GradientID):
    """Reads offsets, which a learner gathers if its spec asks for them (`LearnerSpec.gradient_offset`)."""

    name = "gradient-id-offset"
    title = "Gradient ID (offsets)"

    def scores_among(self, learner: Learner, shared: SharedPass, among: Tensor) -> Tensor:
        """Return the scores [batch, k] of each sample's own tasks; their mean needs those of all."""
        return self.scores(learner, shared).gather(1, among)

    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return s - b [batch, tasks]: Gradient ID's scores, of each sample less their mean, and the offsets."""
        return self.centred(learner, shared) - learner.gathered[self.name]["offsets"].to(shared.trunk.x)

    def centred(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return Gradient ID's scores [batch, tasks] minus each sample's mean, which no task causes."""
        scores = super().scores(learner, shared)
        return scores - scores.mean(1, keepdim=True)

    @torch.no_grad()
    def gather(self, learner: Learner, loader: Loader) -> None:
        """Add the newest task to the learner's offsets; replayed examples are skipped."""
        statistics = learner.statistics[self.name]
        assert isinstance(statistics, TaskOffsets)
        batches = _some(loader, learner.task_columns(learner.num_tasks - 1).start, statistics.amount)
        scores = torch.cat([self.centred(learner, SharedPass(learner.network, x)) for x in batches])
        found = statistics.gather(learner.gathered.get(self.name, {}), scores)
        learner.gathered = learner.gathered | {self.name: found}


def _some(loader: Loader, first_column: int, count: int) -> Iterator[Tensor]:
    """Yield inputs, unaugmented, of at most `count` of the newest task's examples, spread evenly over their order."""
    own = (loader.targets >= first_column).nonzero()[:, 0].cpu()
    chosen = own[torch.linspace(0, len(own) - 1, min(count, len(own))).long()]
    for rows in chosen.split(loader.batch_size):
        yield loader.prepared(loader.loaded(rows.tolist()))
