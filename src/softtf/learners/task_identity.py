"""HiDe-Prompt's task-identity inference (TII): a small classifier of all classes on frozen features.

With z = q(x), g = norm(z + W2 gelu(W1 z + b1) + b2), and a linear head reads g. All tasks share it. Each task trains
all of it by the cross-entropy over the task's own classes. From the second task on it is then aligned on Gaussians of
z (`aligned`). The inferred task is that of the best class.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.files.tensor_form import Forms, TensorForm
from softtf.learners.aligned import AlignedSpec, finite, trained_on_draws
from softtf.statistics.class_gaussians import GaussianDraws

HEAD = ("weight", "bias")
BATCH = 128


def tii_forms(columns: int, dim: int) -> Forms:
    """Return the forms of the classifier's tensors."""
    shapes = {"w1": (2 * dim, dim), "b1": (2 * dim,), "w2": (dim, 2 * dim), "b2": (dim,)}
    shapes |= {"norm_weight": (dim,), "norm_bias": (dim,), "weight": (columns, dim), "bias": (columns,)}
    return {name: TensorForm(shape) for name, shape in shapes.items()}


def tii_started(known: Mapping[str, Tensor], classes: int, dim: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the classifier with new classes: weights ~ N(0, 0.02), and biases of zero.

    Args:
        known: the classifier of earlier tasks; empty if there are none.
        classes: the number of new classes.
        dim: dimension of the features.
        generator: of the weights.
    """

    def drawn(*shape: int) -> Tensor:
        return 0.02 * torch.randn(*shape, generator=generator)

    body = {
        **{"w1": drawn(2 * dim, dim), "b1": torch.zeros(2 * dim), "w2": drawn(dim, 2 * dim), "b2": torch.zeros(dim)},
        **{"norm_weight": torch.ones(dim), "norm_bias": torch.zeros(dim)},
    }
    head = {"weight": drawn(classes, dim), "bias": torch.zeros(classes)}
    if not known:
        return body | head
    return {**known, **{name: torch.cat([known[name], head[name]]) for name in HEAD}}


def tii_logits(z: Tensor, model: Mapping[str, Tensor]) -> Tensor:
    """Return logits [n, classes] of frozen features [n, dim]."""
    m = {name: value.to(z) for name, value in model.items()}
    mapped = z + F.linear(F.gelu(F.linear(z, m["w1"], m["b1"])), m["w2"], m["b2"])
    g = F.layer_norm(mapped, z.shape[1:], m["norm_weight"], m["norm_bias"])
    return F.linear(g, m["weight"], m["bias"])


def tii_trained(
    start: Mapping[str, Tensor],
    z: Tensor,
    columns: Tensor,
    first: int,
    epochs: int,
    rate: float,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return the classifier `start` trained on a task's features, by Adam with gradients clipped at 1.

    Args:
        start: the classifier, with the task's classes.
        z: [n, dim], on the CPU.
        columns: [n], the class of each.
        first: the first of the task's own classes.
        epochs: passes over z, in batches of 128.
        rate: Adam's learning rate.
        generator: of the order.

    Raises:
        TrainingError: a value became infinite.
    """
    model = {name: value.float().clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.Adam(model.values(), rate)
    for _ in range(epochs):
        for rows in torch.randperm(len(z), generator=generator).split(BATCH):
            with torch.enable_grad():
                loss = F.cross_entropy(tii_logits(z[rows].float(), model)[:, first:], columns[rows] - first)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.values(), 1.0)
            optimizer.step()
    return finite(model)


def tii_aligned(
    start: Mapping[str, Tensor], gaussians: Mapping[str, Tensor], spec: AlignedSpec, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the classifier aligned on features drawn for all classes; arguments as for `trained_on_draws`."""

    def loss(z: Tensor, targets: Tensor, model: Mapping[str, Tensor]) -> Tensor:
        return F.cross_entropy(tii_logits(z, model), targets)

    return trained_on_draws(start, loss, GaussianDraws(gaussians, torch.device("cpu")), spec, generator)
