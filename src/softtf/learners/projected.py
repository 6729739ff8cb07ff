"""What L2P, DualPrompt and CLIP-Prompt share under PGP: prompts with gradients projected out of earlier tasks' space.

PGP's own code differs: it projects only the keys' half of a prefix and the first sample's prompts; here both halves and
everything that is trained are projected. It takes the space of L2P's inputs before a task, with the prompts of the task
before; here it is taken after the task, as that code does for DualPrompt and CLIP. `softtf.adaptations.projection` says
how much of the space is kept.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from softtf.adaptations.projection import Projection, SecondMoment, basis_form, projected
from softtf.files.tensor_form import Forms
from softtf.learners.base import Learner
from softtf.learners.task_data import TaskData
from softtf.network import SharedPass
from softtf.seeds import derive_seed
from softtf.streams import Loader

BASIS = "basis."


class Projected(NamedTuple):
    """A prompt whose gradient is projected: part `part` [..., dim] of a parameter.

    eps: its own share of the spectrum, where it differs from the projection's. met_alone: whether its basis spans only
    the rows that it meets, not its own rows.
    """

    parameter: nn.Parameter
    part: int | slice = slice(None)
    eps: float | None = None
    met_alone: bool = False


class ProjectedLearner(Learner):
    """A learner of prompts; `projection` says whether and how they are projected (`softtf.adaptations.projection`).

    The bases are in `memory`, one per name in `prompts`. The gradient is orthogonal to its basis, as published; the
    step need not be, as Adam scales each coordinate separately.
    """

    projection: Projection | None

    @property
    def task_inferences(self) -> tuple[str, ...]:
        """Prompt ID and Gradient ID where each task has a network of its own; otherwise no task is inferred."""
        return ("prompt-id", "gradient-id", "gradient-id-full") if self.network.top_depends_on_task else ()

    @abstractmethod
    def prompts(self) -> dict[str, Projected]:
        """Return, by name, the prompts that a later task would change."""

    @abstractmethod
    def met(self, shared: SharedPass) -> dict[str, Tensor]:
        """Return, by the same names, the rows [n, dim] that these prompts meet in a batch of inputs."""

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the bases; each has at most as many columns as its prompt has dimensions."""
        if self.projection is None:
            return {}
        sizes = {name: parameter.shape[-1] for name, (parameter, *_) in self.prompts().items()}
        return {BASIS + name: basis_form(size) for name, size in sizes.items()}

    def after_backward(self) -> None:
        """Project each prompt's gradient out of its basis: g - g V V^T."""
        for name, (parameter, part, *_) in self.prompts().items():
            basis = self.memory.get(BASIS + name)
            if basis is not None and parameter.grad is not None:
                parameter.grad[part] = projected(parameter.grad[part], basis)

    def end_task(self, data: TaskData) -> None:
        """Extend each prompt's basis, and close the task."""
        if self.projection is not None:
            self.extend_bases(data.loader)
        super().end_task(data)

    @torch.no_grad()
    def extend_bases(self, loader: Loader) -> None:
        """Extend each prompt's basis by the space that the prompt and this task's inputs span."""
        assert self.projection is not None
        moments = defaultdict[str, SecondMoment](SecondMoment)
        for inputs in self._some(loader, self.projection.samples):
            for name, rows in self.met(SharedPass(self.network, inputs)).items():
                moments[name].add(rows)
        bases = {}
        for name, (parameter, part, eps, met_alone) in self.prompts().items():
            own = 0.0 if met_alone else SecondMoment().add(parameter[part]).mean
            before = self.memory.get(BASIS + name)
            bases[BASIS + name] = self.projection.extend(before, moments[name].mean + own, eps)
        self.memory = self.memory | bases

    def _some(self, loader: Loader, samples: int) -> Iterator[Tensor]:
        """Yield inputs of a slice of the training data; the slice is the same whenever the task is learned."""
        for inputs, _, _ in loader.epoch(derive_seed(self.seed, "projection", self.task)):
            yield inputs[:samples]
            samples -= len(inputs)
            if samples <= 0:
                return


def real_rows(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the rows [n, dim] of x [batch, tokens, dim] that belong to real tokens; `mask` may be longer than x."""
    return x.flatten(0, 1) if mask is None else x[mask[:, : x.shape[1]]]
