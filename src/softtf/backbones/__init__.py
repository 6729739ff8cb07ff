"""Frozen pre-trained transformers that run block by block.

For a family of your own, derive a `Backbone` and register a function that builds it with `backbone`.
`softtf.testing.check_backbone` checks it.
"""

from softtf.backbones.attention import attention, split_heads
from softtf.backbones.base import UNEDITED, Backbone, BlockEdit, Tokens
from softtf.backbones.load import BackboneSpec, backbone, load_backbone
from softtf.config.names import BUNDLED

__all__ = [
    "BUNDLED",
    "UNEDITED",
    "Backbone",
    "BackboneSpec",
    "BlockEdit",
    "Tokens",
    "attention",
    "backbone",
    "load_backbone",
    "split_heads",
]
