"""Where a task's network attends: how much the tokens that the pooling reads attend to each patch."""

import math

from torch import Tensor

from softtf.adaptations.base import Adaptation
from softtf.backbones.base import UNEDITED, BlockEdit, Tokens
from softtf.backbones.block_features import ReadBlocks
from softtf.network import AdaptedNetwork, SharedPass


def attending(network: AdaptedNetwork) -> AdaptedNetwork:
    """Return the network whose attention is shown: of a backbone read at several blocks, the frozen one inside it."""
    backbone = network.backbone
    return AdaptedNetwork(backbone.inner, []) if isinstance(backbone, ReadBlocks) else network


def first_view(inputs: Tensor) -> Tensor:
    """Return prepared images [batch, ...] of one view; of several, the first, which is the usual one."""
    return inputs[:, 0] if inputs.dim() == 5 else inputs


def attention_map(network: AdaptedNetwork, inputs: Tensor, task: int, block: int) -> Tensor:
    """Return the attention to each patch, [batch, rows, columns], in block `block` (from 0) of a task's network."""
    shared = SharedPass(network, inputs)
    tokens, edit = _entering(network, shared, task, block)
    weights = network.backbone.attention_weights(block, tokens, edit)
    read = weights.mean(1)[:, : tokens.read].mean(1)  # [batch, keys], over heads and the tokens that are read
    patches = network.backbone.embed(inputs).x.shape[1] - network.backbone.leading_tokens
    first = weights.shape[3] - tokens.x.shape[1] + network.backbone.leading_tokens  # a prefix is before the tokens
    first += _prepended(network, shared) if block >= network.first_edited_block else 0
    side = math.isqrt(patches)
    return read[:, first : first + patches].view(len(read), -1, side)


def _entering(network: AdaptedNetwork, shared: SharedPass, task: int, block: int) -> tuple[Tokens, BlockEdit]:
    """Return the tokens that enter a block, and the block's edit."""
    if block < network.first_edited_block:
        return network.backbone.run(network.backbone.embed(shared.inputs), 0, block), UNEDITED
    for index, tokens, edit in network.walk(shared.stem, task, shared.trunk_query):
        if index == block:
            return tokens, edit
    raise AssertionError(f"there is no block {block}")


def _prepended(network: AdaptedNetwork, shared: SharedPass) -> int:
    """Return the number of prompt tokens before the embedded ones."""
    parts = [a.prepended(shared.trunk_query) for a in network.adaptations if isinstance(a, Adaptation)]
    return sum(part.shape[1] for part in parts if part is not None)
