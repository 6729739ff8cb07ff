"""Texts cut into two parts, as token ids, for next-sentence prediction."""

import torch
from torch import Tensor

from softtf.streams.texts import PAD, join


def halves(texts: Tensor, generator: torch.Generator, swap: bool) -> Tensor:
    """Cut texts [b, tokens] at a random place into [CLS] a [SEP] b [SEP], or with `swap` into [CLS] b [SEP] a [SEP].

    The first and last tokens of a text are its [CLS] and [SEP].
    """
    found = []
    for row in texts.cpu():
        text = row[row != PAD]
        first, words, last = text[:1], text[1:-1][: max(0, len(row) - 3)], text[-1:]
        cut = int(torch.randint(1, len(words), (), generator=generator)) if len(words) > 1 else len(words)
        a, b = (words[cut:], words[:cut]) if swap else (words[:cut], words[cut:])
        found.append(torch.cat([first, a, last, b, last])[None])
    return join(found).to(texts.device)
