"""Check an adaptation."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from softtf.adaptations import Adaptation, AdaptationSpec
from softtf.backbones import Backbone
from softtf.inference.entropy_gradient import largest_entropy
from softtf.network import AdaptedNetwork, SharedPass
from softtf.testing.laws import equal, law, same
from softtf.testing.tiny import CLASSES, TASKS, generator, inputs, tiny_backbone


def check_adaptation(spec: AdaptationSpec, backbone: Callable[[], Backbone] = tiny_backbone) -> None:
    """Check an adaptation: slots, frozen weights, mixtures, neighbours, and Gradient ID by finite differences.

    Args:
        spec: its layers must be in the backbone; `tiny_backbone` has layers 1 to 4.
        backbone: returns a backbone in float64 that takes `inputs`.
    """
    frozen = backbone()
    before = frozen.weights_hash()
    _check_slots(spec.build(frozen))
    network = AdaptedNetwork(frozen, _noisy(spec.build(frozen), TASKS))
    trunk = SharedPass(network, inputs(4)).trunk
    with torch.no_grad():
        own = [network.top(trunk, task=task) for task in range(TASKS)]
        for task, one_hot in enumerate(torch.eye(TASKS, dtype=torch.float64)):
            same(network.top(trunk, mixture=one_hot.expand(4, -1)), own[task], "a one-hot mixture is that task")
        same(network.top(trunk[2:], task=0), own[0][2:], "an answer does not depend on its neighbours")
        if network.top_depends_on_task:
            law(not torch.allclose(own[0], own[1]), "tasks whose parameters differ have different features")
    _check_gradient_id(network, inputs(4))
    parts = _noisy(spec.build(frozen), 1)
    for part in parts:
        part.load_task(part.task_state_dict(0))
    alike = AdaptedNetwork(frozen, parts)
    mixed = torch.tensor([0.3, 0.7], dtype=torch.float64).expand(4, -1)
    with torch.no_grad():
        trunk = SharedPass(alike, inputs(4)).trunk
        same(alike.top(trunk, mixture=mixed), alike.top(trunk, task=0), "equal tasks mixed are that task")
    law(frozen.weights_hash() == before, "the frozen backbone is never written to")
    law(all(p.grad is None and not p.requires_grad for p in frozen.parameters()), "the backbone stays frozen")


def _check_slots(parts: Sequence[Adaptation]) -> None:
    for part in parts:
        law(part.num_tasks == 0, "there is no slot before the first task")
        for task in range(2):
            part.add_task(CLASSES, generator(task))
            law(all(p.requires_grad for p in part.slot(task).values()), "the newest task's parameters are trained")
        law(not any(p.requires_grad for p in part.slot(0).values()), "a finished task's parameters are closed")
        part.freeze()
        kept = {name: value.clone() for name, value in part.task_state_dict(1).items()}
        del part.slots[-1]
        part.load_task(kept)
        law(equal(part.task_state_dict(1), kept), "saving and loading a task keeps it bit for bit")


def _noisy(parts: list[Adaptation], tasks: int) -> list[Adaptation]:
    """Move each task's parameters some way from their initial values."""
    for part in parts:
        for task in range(tasks):
            part.add_task(CLASSES, generator(0))
            for value in part.slot(task).values():
                value.data.add_(0.1 * torch.randn(value.shape, generator=generator(task)).to(value))
        part.freeze()
        part.double()
    return parts


def _check_gradient_id(network: AdaptedNetwork, x: Tensor) -> None:
    """Compare the gradient of the mixture's entropy with the effect of a small step towards each task."""
    if not network.top_depends_on_task:
        return
    trunk, head = SharedPass(network, x).trunk, torch.randn(network.backbone.dim, 6, generator=generator(9)).double()

    def entropy(alpha: Tensor) -> Tensor:
        return largest_entropy(network.top(trunk, mixture=alpha) @ head, 3)

    alpha = torch.full((len(x), TASKS), 1 / TASKS, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(entropy(alpha).sum(), alpha)
    step = 1e-5 * torch.eye(TASKS, dtype=torch.float64)
    with torch.no_grad():
        slow = torch.stack([(entropy(alpha + s) - entropy(alpha - s)) / 2e-5 for s in step], 1)
    close = torch.allclose(gradient, slow, rtol=1e-4, atol=1e-7)
    law(close, "per-sample Gradient ID is the derivative of each sample's own entropy")
