"""A vision transformer, one sample and one head at a time: the reference for masks, adapters and prefixes."""

from typing import Any

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

NAMES = ("qkv", "proj", "fc1", "fc2")
Weights = dict[tuple[int, str], Tensor]  # (block counted from 0, one of NAMES) -> weight
Adapters = dict[tuple[int, str], tuple[Tensor, Tensor, Tensor, Tensor]]  # -> down [r, O], its bias, up [O, r], its bias
Prefixes = dict[int, Tensor]  # block -> [2 (key, value), P, D], or [B, 2, P, D] with one per sample


def vit_forward(
    model: VisionTransformer,
    images: Tensor,
    *,
    weights: Weights | None = None,
    prefixes: Prefixes | None = None,
    adapters: Adapters | None = None,
    prepended: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Normalised images [B, 3, H, W] -> class-token features [B, D] and all tokens [B, N, D].

    Both are taken after the final norm. `weights` take the place of the model's own; biases, norms
    and LayerScale stay the model's. The output y of a layer with an adapter becomes y + up(gelu(down(y))). No dropout.
    `prepended` [B, P, D] are tokens before the embedded ones; the features are then the mean of these places.
    """
    weights, prefixes, adapters = weights or {}, prefixes or {}, adapters or {}
    assert {(i, name) for i in range(len(model.blocks)) for name in NAMES} >= weights.keys() | adapters.keys()
    assert set(range(len(model.blocks))) >= prefixes.keys()
    rows = []
    for b in range(len(images)):
        tokens = _embed(model, images[b])
        if prepended is not None:
            tokens = torch.cat([prepended[b], tokens])
        for index, block in enumerate(model.blocks):
            prefix = prefixes.get(index)
            if prefix is not None and prefix.ndim == 4:
                prefix = prefix[b]
            own = {name: weight for (i, name), weight in weights.items() if i == index}
            after = {name: adapter for (i, name), adapter in adapters.items() if i == index}
            tokens = _block(block, tokens, own, after, prefix)
        rows.append(model.norm(tokens))
    tokens = torch.stack(rows)
    read = 1 if prepended is None else prepended.shape[1]
    return sum((tokens[:, i] for i in range(1, read)), start=tokens[:, 0]) / read, tokens


def layer(model: VisionTransformer, block: int, name: str) -> nn.Linear:
    """The linear layer that a key of `Weights` names."""
    owner = model.blocks[block].attn if name in ("qkv", "proj") else model.blocks[block].mlp
    linear = getattr(owner, name)
    assert isinstance(linear, nn.Linear)
    return linear


def _embed(model: VisionTransformer, image: Tensor) -> Tensor:
    assert model.num_prefix_tokens == 1 and not model.no_embed_class  # a class token with a position
    patches = model.patch_embed(image[None])[0]
    embedded: Tensor = torch.cat([model.cls_token[0], patches]) + model.pos_embed[0]
    return model.norm_pre(embedded)  # type: ignore[no-any-return, unused-ignore]


def _block(
    block: Block, x: Tensor, weights: dict[str, Tensor], adapters: dict[str, Any], prefix: Tensor | None
) -> Tensor:
    assert "qkv" not in adapters
    attention = _adapt(adapters.get("proj"), _attention(block.attn, block.norm1(x), weights, prefix))
    x = x + attention * _scale(block.ls1)
    hidden = _adapt(adapters.get("fc1"), _linear(block.mlp.fc1, weights.get("fc1"), block.norm2(x)))
    out = _adapt(adapters.get("fc2"), _linear(block.mlp.fc2, weights.get("fc2"), block.mlp.act(hidden)))
    return x + out * _scale(block.ls2)


def _adapt(adapter: tuple[Tensor, Tensor, Tensor, Tensor] | None, y: Tensor) -> Tensor:
    if adapter is None:
        return y
    down, down_bias, up, up_bias = adapter
    hidden = y @ down.T + down_bias
    return y + (0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))) @ up.T + up_bias


def _attention(attn: Any, x: Tensor, weights: dict[str, Tensor], prefix: Tensor | None) -> Tensor:
    """softmax(q [p_K; k]^T / sqrt(d)) [p_V; v] for x [N, D]; a head owns d neighbouring columns of D."""
    assert isinstance(attn.q_norm, nn.Identity) and isinstance(attn.k_norm, nn.Identity)
    q, k, v = _linear(attn.qkv, weights.get("qkv"), x).chunk(3, dim=1)
    if prefix is not None:
        k, v = torch.cat([prefix[0], k]), torch.cat([prefix[1], v])
    d = x.shape[1] // attn.num_heads
    heads = []
    for head in range(attn.num_heads):
        own = slice(head * d, (head + 1) * d)
        similarity = q[:, own] @ k[:, own].T / d**0.5
        heads.append(similarity.softmax(dim=1) @ v[:, own])
    return _linear(attn.proj, weights.get("proj"), torch.cat(heads, dim=1))


def _linear(linear: nn.Linear, weight: Tensor | None, x: Tensor) -> Tensor:
    y = x @ (linear.weight if weight is None else weight).T
    return y if linear.bias is None else y + linear.bias


def _scale(layer_scale: Any) -> Tensor | float:
    gamma: Tensor | float = 1.0 if isinstance(layer_scale, nn.Identity) else layer_scale.gamma
    return gamma
