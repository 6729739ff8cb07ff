"""A backbone family: patches, then blocks of one attention head and an MLP, on random weights."""

from dataclasses import replace

import torch
from torch import nn

from softtf.backbones import UNEDITED, Backbone, Tokens, attention, backbone, split_heads
from softtf.streams import ImagePreparation


class Small(Backbone):
    name, dim, depth, preparation = "small", 32, 3, ImagePreparation(16)
    weight_names = ("qkv", "proj", "fc1", "fc2")

    def __init__(self):
        super().__init__()
        widths = {"qkv": (32, 96), "proj": (32, 32), "fc1": (32, 64), "fc2": (64, 32)}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.patches = nn.Conv2d(3, 32, 4, 4)
            self.layers = nn.ModuleList(nn.ModuleDict({n: nn.Linear(*w) for n, w in widths.items()}) for _ in range(3))
        self.requires_grad_(False)

    def embed(self, inputs):
        return Tokens(self.patches(inputs.to(self.patches.weight)).flatten(2).mT)

    def block(self, index, tokens, edit=UNEDITED):
        q, k, v = (split_heads(part, 1) for part in self._mixed("qkv", index, tokens.x, edit).chunk(3, -1))
        x = tokens.x + self.apply_linear(attention(q, k, v, edit.prefix, tokens.mask), index, "proj", edit)
        return replace(tokens, x=x + self.apply_linear(self._mixed("fc1", index, x, edit).relu(), index, "fc2", edit))

    def pool(self, tokens):
        return tokens.x[:, : tokens.read].mean(1)

    def queries_and_values(self, index, tokens, edit=UNEDITED):
        return self._mixed("qkv", index, tokens.x, edit).chunk(3, -1)[::2]

    def linear(self, block, name):
        return self.layers[block][name]

    def _mixed(self, name, index, x, edit):
        return self.apply_linear(nn.functional.layer_norm(x, (32,)).to(self.compute_dtype), index, name, edit)


@backbone("small")
def small(spec):
    return Small()
