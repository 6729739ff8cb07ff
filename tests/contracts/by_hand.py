"""What the references want to know of a learner, and the scores they are compared with."""

from itertools import product

import torch
from torch import Tensor

from contracts.tiny import MEAN, STD, tiny_backbone
from references.vit import Adapters as Written
from references.vit import Weights
from softtf.adaptations.adapter import Adapters
from softtf.inference import INFERENCES
from softtf.learners import Learner
from softtf.network import AdaptedNetwork, SharedPass


def head(learner: Learner) -> tuple[Tensor, Tensor]:
    slots = [learner.network.heads.slot(t) for t in range(learner.num_tasks)]
    return torch.cat([s["weight"].detach() for s in slots]), torch.cat([s["bias"].detach() for s in slots])


def normalised(x: Tensor) -> Tensor:
    backbone = tiny_backbone()
    assert torch.allclose(backbone.mean.flatten(), torch.tensor(MEAN).double())
    return (x - torch.tensor(MEAN).view(3, 1, 1).double()) / torch.tensor(STD).view(3, 1, 1).double()


def scores(learner: Learner, x: Tensor, name: str = "gradient-id") -> Tensor:
    with learner.computing_in(torch.float64), torch.no_grad():
        return INFERENCES[name]().scores(learner, SharedPass(learner.network, x))


def task_weights(network: AdaptedNetwork, task: int) -> Weights:
    """Each edited weight of one task, every adaptation applied to what the one before it made."""
    weights: Weights = {}
    for adaptation in network.adaptations:
        for block in range(network.backbone.depth):
            for name in network.backbone.weight_names:
                if adaptation.edits_weight(block, name):
                    frozen = weights.get((block, name), network.backbone.linear(block, name).weight)
                    weights[block, name] = adaptation.weight(block, name, frozen, task).detach()
    return weights


def written_out(network: AdaptedNetwork) -> bool:
    """Whether the two functions beside this one see all that the adaptations do to layers."""
    layers = list(product(range(network.backbone.depth), network.backbone.weight_names))
    branch = any(a.runs_beside(*layer) for a in network.adaptations for layer in layers)
    others = [a for a in network.adaptations if not isinstance(a, Adapters)]
    return not branch and not any(a.follows(*layer) for a in others for layer in layers)


def task_adapters(network: AdaptedNetwork, task: int) -> Written:
    """Down, its bias, up, its bias of each adapter of one task; packed ones written out as steps * codes."""
    adapters: Written = {}
    for adaptation in network.adaptations:
        for block in range(network.backbone.depth):
            for name in network.backbone.weight_names:
                if adaptation.follows(block, name):
                    assert (block, name) not in adapters
                    key, slot = f"layer{block + 1:02d}_{name}", adaptation.slot(task)
                    down, up = (slot[f"{key}_{p}"] * slot.get(f"{key}_{p}_steps", 1) for p in ("down", "up"))
                    adapters[block, name] = (down, slot[f"{key}_down_bias"], up, slot[f"{key}_up_bias"])
    return {key: tuple(part.detach() for part in parts) for key, parts in adapters.items()}  # type: ignore[misc]
