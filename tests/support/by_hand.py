"""What the references want to know of a learner, and the scores they are compared with."""

import torch
from torch import Tensor

from references.vit import Adapters as Written
from references.vit import Weights
from softtf.adaptations.adapter import Adapters
from softtf.adaptations.lora import LoRAs, LoRAsBeside
from softtf.inference import INFERENCES
from softtf.learners import Learner
from softtf.network import AdaptedNetwork, SharedPass
from support.tiny import MEAN, STD, tiny_backbone


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
        for site in adaptation.weight_sites:
            frozen = weights.get(site, network.backbone.linear(*site).weight)
            weights[site] = adaptation.weight(site, frozen, task).detach()
    return weights


def written_out(network: AdaptedNetwork) -> bool:
    """Whether the functions beside this one see all that the adaptations do to layers."""
    return all(isinstance(a, Adapters | LoRAs) for a in network.adaptations if a.output_sites)


def task_adapters(network: AdaptedNetwork, task: int) -> Written:
    """Down, its bias, up, its bias of each adapter of one task; quantised ones written out as steps * codes."""
    adapters: Written = {}
    for adaptation in (a for a in network.adaptations if isinstance(a, Adapters)):
        for block, name in adaptation.output_sites:
            assert (block, name) not in adapters
            key, slot = f"layer{block + 1:02d}_{name}", adaptation.slot(task)
            down, up = (slot[f"{key}_{p}"] * slot.get(f"{key}_{p}_steps", 1) for p in ("down", "up"))
            adapters[block, name] = (down, slot[f"{key}_down_bias"], up, slot[f"{key}_up_bias"])
    return {key: tuple(part.detach() for part in parts) for key, parts in adapters.items()}  # type: ignore[misc]


def task_branches(network: AdaptedNetwork, task: int) -> Weights:
    """D [out, in] of each linear branch D x of one task beside a layer; quantised ones written out as for adapters."""
    branches: Weights = {}
    for adaptation in (a for a in network.adaptations if isinstance(a, LoRAsBeside)):
        slot = adaptation.slot(task)
        for site in adaptation.output_sites:
            assert site not in branches
            branches[site] = torch.zeros_like(network.backbone.linear(*site).weight)
            for part in (p for p in adaptation.parts[site.block] if p.whole == site.weight):
                key = f"layer{site.block + 1:02d}_{part.name}"
                a, b = (slot[f"{key}_{m}"] * slot.get(f"{key}_{m}_steps", 1) for m in "AB")
                branches[site][part.start : part.stop] = adaptation.scale * (b @ a).detach()
    return branches
