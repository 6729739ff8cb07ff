"""Check a backbone."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from softtf.backbones import Backbone, BlockEdit
from softtf.testing.laws import law, same
from softtf.testing.tiny import Inputs, generator, inputs


def check_backbone(build: Callable[[], Backbone], prepared: Inputs = inputs) -> None:
    """Check a backbone: it is frozen, each sample's features are its own, and edits of every named weight take effect.

    Args:
        build: returns the backbone in float64, with `compute_dtype` float64 too.
        prepared: returns a given number of prepared inputs.
    """
    backbone = build()
    law(not any(p.requires_grad for p in backbone.parameters()), "the backbone is frozen")
    law(backbone.weights_hash() == build().weights_hash(), "built again it has the same weights")

    def features(x: Tensor, block: int = -1, edit: BlockEdit | None = None) -> Tensor:
        tokens = backbone.embed(x)
        for index in range(backbone.depth):
            tokens = backbone.block(index, tokens, edit if edit and index == block else BlockEdit())
        return backbone.pool(tokens)

    x = prepared(4)
    with torch.no_grad():
        plain = features(x)
        law(plain.shape == (4, backbone.dim), "features are [batch, dim]")
        same(torch.cat([features(row[None]) for row in x]), plain, "features do not depend on neighbours")
        for block in range(backbone.depth):
            for name in backbone.weight_names:
                _check_edits(partial(features, x, block), backbone.linear(block, name).weight, name, plain)
            queries, values = backbone.queries_and_values(block, backbone.run(backbone.embed(x), 0, block))
            width = queries.shape[0] == values.shape[0] == 4 and queries.shape[2] == values.shape[2]
            law(width, "queries and values are [batch, tokens, dim]")


def _check_edits(features: Callable[[BlockEdit], Tensor], weight: Tensor, name: str, plain: Tensor) -> None:
    """Check that a block reads every edit of a weight, and that one change made in two ways has the same effect."""
    same(features(BlockEdit({name: weight})), plain, f"replacing {name} by itself changes nothing")
    change = 0.1 * torch.randn(weight.shape, generator=generator(0)).to(weight)
    added, beside = BlockEdit({name: weight + change}), BlockEdit(outputs={name: lambda x, y: y + x @ change.T})
    law(not torch.allclose(features(added), plain), f"replacing {name} changes features")
    same(features(beside), features(added), f"an output edit of {name} gets the layer's input")
    same(features(BlockEdit(outputs={name: lambda x, y: y})), plain, f"an output edit of {name} gets the whole output")
    doubled = features(BlockEdit(outputs={name: lambda x, y: 2 * y}))
    law(not torch.allclose(doubled, plain), f"an output edit of {name} replaces the output")
