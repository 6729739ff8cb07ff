"""Frozen pre-trained transformers that run block by block."""

from softtf.backbones.base import Backbone, BlockEdit, Tokens
from softtf.backbones.load import BUNDLED, BackboneSpec, load_backbone

__all__ = ["BUNDLED", "Backbone", "BackboneSpec", "BlockEdit", "Tokens", "load_backbone"]
