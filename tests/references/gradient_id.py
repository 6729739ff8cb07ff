"""Gradient ID, one sample and one autograd call at a time: score_j = -dH/dalpha_j at alpha = 1/T."""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from .vit import Adapters, Prefixes, Weights, layer, vit_forward


def gradient_id_scores(
    model: VisionTransformer,
    images: Tensor,
    *,
    masks: list[Weights],
    prefixes: list[Prefixes],
    head: tuple[Tensor, Tensor],
    shared_prefixes: Prefixes,
    top_entries: int,
    base_weights: Weights | None = None,
    adapters: list[Adapters] | None = None,
    branches: list[Weights] | None = None,
) -> Tensor:
    """Scores [B, T] of images [B, 3, H, W]; arguments as in `mixture_entropy`."""
    rows = []
    for image in images:
        alpha = torch.full((len(masks),), 1 / len(masks), dtype=images.dtype, requires_grad=True)
        entropy = mixture_entropy(
            model,
            image,
            alpha,
            masks=masks,
            prefixes=prefixes,
            head=head,
            shared_prefixes=shared_prefixes,
            top_entries=top_entries,
            base_weights=base_weights,
            adapters=adapters,
            branches=branches,
        )
        rows.append(-torch.autograd.grad(entropy, alpha)[0])
    return torch.stack(rows)


def mixture_entropy(
    model: VisionTransformer,
    image: Tensor,
    alpha: Tensor,
    *,
    masks: list[Weights],
    prefixes: list[Prefixes],
    head: tuple[Tensor, Tensor],
    shared_prefixes: Prefixes,
    top_entries: int,
    base_weights: Weights | None = None,
    adapters: list[Adapters] | None = None,
    branches: list[Weights] | None = None,
) -> Tensor:
    """H = -sum p log p, p = softmax over the `top_entries` largest of the C seen classes' logits, so that p sums to 1.

    The network is W(alpha) = W * sum_j alpha_j m_j with the prefixes
    sum_j alpha_j p_j; `masks` and `prefixes` hold one dict a task, `head` is (W [C, D], b [C]). A mask's W is
    the model's own unless `base_weights` has it. `shared_prefixes` do not depend on alpha; they come first
    where a block has both kinds. Of `adapters`, one dict a task too, each of the four tensors is mixed. Of `branches`,
    one dict a task too, sum_j alpha_j D_j is added to the weight.
    """
    adapters = adapters or [{} for _ in masks]
    assert all(mask.keys() == masks[0].keys() for mask in masks)
    assert all(prefix.keys() == prefixes[0].keys() for prefix in prefixes)
    weights = dict(base_weights or {})
    for key in masks[0]:
        base = weights[key] if key in weights else layer(model, *key).weight.detach()
        weights[key] = base * _mix(alpha, [mask[key] for mask in masks])
    for key in branches[0] if branches else ():
        base = weights[key] if key in weights else layer(model, *key).weight.detach()
        weights[key] = base + _mix(alpha, [branch[key] for branch in branches])
    mixed = dict(shared_prefixes)
    for block in prefixes[0]:
        own = _mix(alpha, [prefix[block] for prefix in prefixes])
        mixed[block] = torch.cat([shared_prefixes[block], own], dim=1) if block in shared_prefixes else own
    bottlenecks = {key: tuple(_mix(alpha, [a[key][i] for a in adapters]) for i in range(4)) for key in adapters[0]}
    feature = vit_forward(model, image[None], weights=weights, prefixes=mixed, adapters=bottlenecks)[0][0]
    logits = head[0] @ feature + head[1]
    largest = sorted(logits, reverse=True)[:top_entries]
    total = sum((z.exp() for z in largest), start=torch.zeros_like(largest[0]))
    return -sum((z.exp() / total * (z.exp() / total).log() for z in largest), start=torch.zeros_like(total))


def _mix(alpha: Tensor, parts: list[Tensor]) -> Tensor:
    assert len(alpha) == len(parts)
    return sum((a * part for a, part in zip(alpha, parts, strict=True)), start=torch.zeros_like(parts[0]))
