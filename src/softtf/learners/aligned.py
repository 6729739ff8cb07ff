"""What SLCA, MOS, TUNA and HiDe-Prompt share: one classifier of all classes, aligned on class Gaussians.

Each task trains its own head on its own classes, so heads of different tasks are never compared in training. After a
task, the features of each of its classes are kept as a Gaussian (`class_gaussians`). From the second task on, features
are drawn from these Gaussians, and the classifier of all classes alone is trained on them.

The tasks' own heads stay as they were trained. The aligned classifier is remembered separately, and it answers.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.config.bounds import Between, NonNegative
from softtf.errors import TrainingError
from softtf.files.tensor_form import Forms, form_like
from softtf.learners.base import Learner
from softtf.learners.fine_tuning import network_features
from softtf.learners.rehearsing import features_of
from softtf.learners.spec import LearnerSpec
from softtf.learners.task_data import TaskData
from softtf.seeds import derive_seed
from softtf.statistics.class_gaussians import FACTORS, MEANS, GaussianDraws, add_gaussians, gaussian_forms

DrawsLoss = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]
ALIGNED = "aligned."
NOT_FINITE = "the alignment of the classifier became infinite; try a lower align_rate"

Epochs = Annotated[int, Between(0, 1_000_000)]
Samples = Annotated[int, Between(1, 1_000_000)]


@dataclass(frozen=True)
class AlignedSpec(LearnerSpec):
    """The settings of alignment.

    Attributes:
        align_epochs: epochs of SGD with momentum 0.9 and a cosine schedule; 0 means no alignment.
        align_samples: features drawn per class and epoch; also the batch size.
        align_rate: learning rate of the alignment.
        align_decay: weight decay of the alignment.
    """

    align_epochs: Epochs = field(default=30, kw_only=True)
    align_samples: Samples = field(default=240, kw_only=True)
    align_rate: NonNegative = field(default=0.005, kw_only=True)
    align_decay: NonNegative = field(default=5e-4, kw_only=True)


class AlignedLearner(Learner):
    """A learner that remembers one Gaussian per class and the aligned classifier.

    carries_on: whether alignment starts from the last aligned classifier; otherwise from the tasks' own heads.
    """

    carries_on = True
    aligning: AlignedSpec

    def task_features(self, inputs: Tensor) -> Tensor:
        """Return the features [b, dim] of prepared inputs [b, ...] in the newest task's network."""
        return network_features(self.network, inputs)

    def class_logits(self, features: Tensor, head: Mapping[str, Tensor]) -> Tensor:
        """Return logits [b, classes] of features [b, dim]; `head` has the tensors of a linear layer."""
        return F.linear(features, head["weight"].to(features), head["bias"].to(features))

    def alignment_loss(self, features: Tensor, targets: Tensor, head: Mapping[str, Tensor]) -> Tensor:
        """Return the cross-entropy over all classes of drawn features [b, dim]; targets: their columns [b]."""
        return F.cross_entropy(self.class_logits(features, head), targets)

    def mean_scales(self) -> Tensor | None:
        """Return a factor per class [classes seen] for the means of the Gaussians; None for 1."""
        return None

    def known_means(self, features: Tensor) -> Tensor:
        """Return the means of the old classes, followed by features [b, dim] of the newest task."""
        return torch.cat([self.memory[MEANS].to(features), features]) if self.task else features

    @property
    def aligned(self) -> dict[str, Tensor]:
        """The tensors of the classifier of all classes seen, named as a head's."""
        names = self.network.heads.slot(0)
        return {name: self.memory[ALIGNED + name] for name in names}

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the Gaussians and of the aligned classifier."""
        heads = self._heads(range(self.num_tasks))
        aligned = {ALIGNED + name: form_like(value) for name, value in heads.items()}
        return {**gaussian_forms(len(labels), self.network.heads.dim), **aligned}

    def end_task(self, data: TaskData) -> None:
        """Close the task, remember its classes' Gaussians, and align.

        Raises:
            TrainingError: a value is not finite.
        """
        super().end_task(data)
        known = {name: self.memory[name] for name in (MEANS, FACTORS) if name in self.memory}
        features = features_of(data.loader, self.task_features).cpu()
        start = self._start()
        self.memory = self.memory | add_gaussians(known, features, self.own(data.columns))
        aligned = self.align(start) if self.task else start
        self.memory = self.memory | {ALIGNED + name: value for name, value in aligned.items()}

    def align(self, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the classifier `start` after training on features drawn for all classes seen.

        Raises:
            TrainingError: a value became infinite.
        """
        device = next(self.network.backbone.parameters()).device
        draws, scales = GaussianDraws(self.memory, device), self.mean_scales()
        if scales is not None:
            draws.means = draws.means * scales.to(draws.means)[:, None]
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "alignment", self.task))
        return trained_on_draws(start, self.alignment_loss, draws, self.aligning, generator)

    def _start(self) -> dict[str, Tensor]:
        """Return the classifier from which alignment starts."""
        if not (self.carries_on and self.task):
            return self._heads(range(self.num_tasks))
        new = self._heads(range(self.task, self.num_tasks))
        return {name: torch.cat([value, new[name]]) for name, value in self.aligned.items()}

    def _heads(self, tasks: range) -> dict[str, Tensor]:
        """Return the tasks' own heads side by side, in float32 on the CPU."""
        heads = self.network.heads
        names = heads.slot(tasks[0])
        return {name: torch.cat([heads.value(t, name).detach().float().cpu() for t in tasks]) for name in names}


def trained_on_draws(
    start: Mapping[str, Tensor], loss: DrawsLoss, draws: GaussianDraws, spec: AlignedSpec, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the tensors `start` after SGD on features drawn for all classes, on the CPU.

    Args:
        start: the tensors to train, by name.
        loss: takes drawn features [b, dim], their columns [b] and the tensors.
        draws: from the classes' Gaussians.
        spec: the settings of training; a batch has as many features as are drawn per class.
        generator: of all random numbers.

    Raises:
        TrainingError: a value became infinite.
    """
    trained = {name: value.to(draws.means).clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.SGD(trained.values(), spec.align_rate, momentum=0.9, weight_decay=spec.align_decay)
    for epoch in range(spec.align_epochs):
        optimizer.param_groups[0]["lr"] = spec.align_rate * 0.5 * (1 + math.cos(math.pi * epoch / spec.align_epochs))
        drawn, columns = (part.split(spec.align_samples) for part in draws.draw(spec.align_samples, generator))
        for features, targets in zip(drawn, columns, strict=True):
            with torch.enable_grad():
                found = loss(features, targets, trained)
            optimizer.zero_grad()
            found.backward()
            optimizer.step()
    return finite(trained)


def finite(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the values detached, on the CPU.

    Raises:
        TrainingError: a value is infinite or NaN.
    """
    found = {name: value.detach().cpu() for name, value in values.items()}
    if not all(value.isfinite().all() for value in found.values()):
        raise TrainingError(NOT_FINITE)
    return found
