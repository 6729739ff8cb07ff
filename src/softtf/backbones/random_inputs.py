"""Random inputs from a fixed seed, from which the usual range of a backbone's features is learned without data."""

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.backbones.base import Backbone
from softtf.streams.images import ImagePreparation
from softtf.streams.texts import PAD, TextPreparation

COUNT = 200
SCALES = {2: 1.0, 4: 0.8, 8: 0.6, 16: 0.4, 32: 0.25, 64: 0.15}  # cells a side of the noise -> its weight
UNUSED = 30  # the first 1/30 of a vocabulary is left out: marks and unused tokens
FEWEST_TOKENS = 4


def random_inputs(backbone: Backbone) -> Tensor:
    """Return `COUNT` prepared inputs of a backbone, images or token ids, on the CPU; they are the same each time."""
    generator = torch.Generator().manual_seed(0)
    preparation = backbone.preparation
    if isinstance(preparation, TextPreparation):
        return random_texts(preparation, generator)
    assert isinstance(preparation, ImagePreparation)
    return random_images(preparation.size, generator)


def random_images(size: int, generator: torch.Generator) -> Tensor:
    """Return images [COUNT, 3, size, size] in [0, 1] of coloured noise, strongest at large scales like photos."""

    def draw(channels: int, cells: int) -> Tensor:
        return torch.randn(COUNT, channels, cells, cells, generator=generator)

    images = torch.zeros(COUNT, 3, size, size)
    for cells, weight in SCALES.items():
        colour = 1.5 * torch.rand(COUNT, 1, 1, 1, generator=generator)
        images += weight * F.interpolate(draw(3, cells) * colour + draw(1, cells), size, mode="bicubic")
    images -= 0.5 * images.mean((2, 3), keepdim=True)
    return (0.5 + 0.2 * images).clamp_(0, 1)


def random_texts(preparation: TextPreparation, generator: torch.Generator) -> Tensor:
    """Return token ids [COUNT, tokens] of random words, of random number, between the marks that every text has."""
    first, *_, last = preparation.load_test("a", "a random text").tolist()
    vocabulary: int = preparation.tokenizer.get_vocab_size()
    longest = preparation.max_tokens
    lengths = torch.randint(min(FEWEST_TOKENS, longest), longest + 1, (COUNT,), generator=generator)
    ids = torch.randint(vocabulary // UNUSED, vocabulary, (COUNT, longest), generator=generator)
    places = torch.arange(longest)
    ids[:, 0] = first
    ids[places == lengths[:, None] - 1] = last
    return ids.masked_fill(places >= lengths[:, None], PAD)
