"""Texts cut in two, for next-sentence prediction; all is done on token ids."""

import torch
from torch import Tensor

from softtf.streams.texts import PAD, join


def halves(texts: Tensor, generator: torch.Generator, swap: bool) -> Tensor:
    """Cut texts [b, tokens] in two at random: [CLS] a [SEP] b [SEP], or with `swap` [CLS] b [SEP] a [SEP].

    A text's first and last tokens are taken for [CLS] and [SEP].
    """
    found = []
    for row in texts.cpu():
        text = row[row != PAD]
        first, words, last = text[:1], text[1:-1][: max(0, len(row) - 3)], text[-1:]
        cut = int(torch.randint(1, len(words), (), generator=generator)) if len(words) > 1 else len(words)
        a, b = (words[cut:], words[:cut]) if swap else (words[:cut], words[cut:])
        found.append(torch.cat([first, a, last, b, last])[None])
    return join(found).to(texts.device)
