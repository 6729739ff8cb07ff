"""The tiny CLIP's script: classes apart, the contrastive loss, a tokenizer that knows no words."""

from pathlib import Path

import torch
from torch.nn import functional as F

from support.clip_script import script


def test_the_loss_is_clips_where_every_image_has_a_caption_of_its_own() -> None:
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    both = F.cross_entropy(logits, order) + F.cross_entropy(logits.T, order.argsort())
    torch.testing.assert_close(script.contrastive(logits, order), both / 2)


def test_images_of_one_caption_share_its_probability() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, 1.0], [1.0, 3.0, 0.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 1, 0])
    rows = logits.T.log_softmax(1)
    to_image = -(rows[0, [0, 2]].mean() + rows[1, 1]) / 2
    expected = (F.cross_entropy(logits, labels) + to_image) / 2
    torch.testing.assert_close(script.contrastive(logits, labels), expected)


def test_texts_are_their_bytes(tmp_path: Path) -> None:
    tokenizer = script.tokenizer_of(tmp_path)
    ids = tokenizer("ab ü")["input_ids"]
    assert len(tokenizer) == 514 and ids[0] == 512 and ids[-1] == 513
    assert len(ids) == 2 + 2 + 2  # two ends, two letters, and two bytes of one that is no ASCII


def test_augmented_images_are_shifted_or_mirrored_ones() -> None:
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    padded = F.pad(image, (4, 4, 4, 4))
    cuts = [padded[..., i : i + 32, j : j + 32] for i in range(9) for j in range(9)]
    wanted = script.normalised(torch.cat([*cuts, *(c.flip(3) for c in cuts)]))
    for found in script.augmented(image.expand(20, -1, -1, -1), torch.Generator().manual_seed(1)):
        assert (wanted == found).flatten(1).all(1).any()
