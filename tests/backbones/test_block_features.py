"""Features of several blocks against a plain loop over the inner backbone's blocks."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.backbones import Backbone
from softtf.backbones.block_features import BlockFeatures, LastTokens
from softtf.backbones.random_inputs import random_inputs
from softtf.streams.texts import PAD
from support.tiny import inputs, noise, tiny_backbone, tiny_clip
from support.tiny_bert import tiny_bert, token_ids

VITS = {
    "[class]": (tiny_backbone, 1),
    "no [class]": (lambda: tiny_backbone(class_token=False, global_pool="avg"), 0),
    "registers": (lambda: tiny_backbone(reg_tokens=2), 3),
    "CLIP": (tiny_clip, 1),
}
vits = pytest.mark.parametrize(("build", "leading"), VITS.values(), ids=VITS)


def read(backbone: BlockFeatures, x: Tensor) -> Tensor:
    """As whoever asks a backbone for q(x) does."""
    with torch.no_grad():
        return backbone.pool(backbone.run(backbone.embed(x), 0, backbone.depth))


def block_outputs(inner: Backbone, x: Tensor) -> list[Tensor]:
    tokens, found = replace(inner.embed(x), read=None), []
    for index in range(inner.depth):
        found.append(tokens.x)
        tokens = inner.block(index, tokens)
    return [*found, tokens.x]


@vits
def test_an_images_are_class_mean_and_spread_of_normalised_tokens(build: type, leading: int) -> None:
    inner, x = build(), inputs(3)
    expected = []
    with torch.no_grad():
        for tokens in block_outputs(inner, x)[-2:]:  # a third of four blocks, rounded up
            normed = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
            patches = normed[:, leading:]
            expected += [normed[:, 0]] * (leading > 0) + [patches.mean(1), (patches.var(1, correction=0)).sqrt()]
    backbone = BlockFeatures(inner)
    found = read(backbone, x)
    assert found.shape == (3, backbone.dim)
    torch.testing.assert_close(found, torch.cat(expected, 1).to(found), rtol=0, atol=1e-6)


@vits
def test_the_last_tokens_are_the_class_tokens_as_they_are(build: type, leading: int) -> None:
    inner, x = build(), inputs(3)
    with torch.no_grad():
        outputs = block_outputs(inner, x)
    expected = [tokens[:, 0] if leading else tokens.mean(1) for tokens in outputs[-3:]]
    backbone = LastTokens(inner, 3)
    assert backbone.dim == 3 * inner.dim
    torch.testing.assert_close(read(backbone, x), torch.cat(expected, 1), rtol=0, atol=1e-9)


def test_a_texts_are_the_means_of_real_tokens_after_every_block() -> None:
    inner, ids = tiny_bert(), token_ids(5, 1)
    with torch.no_grad():
        outputs = block_outputs(inner, ids)
    expected = [torch.cat([x[i, : int((row != PAD).sum())].mean(0) for x in outputs]) for i, row in enumerate(ids)]
    backbone = BlockFeatures(inner, views=3)
    assert backbone.views == 1
    torch.testing.assert_close(read(backbone, ids), torch.stack(expected), rtol=0, atol=1e-9)


def test_more_of_a_long_text_is_read_within_what_the_backbone_takes() -> None:
    inner, text = tiny_bert(max_tokens=6), "abcdefgh " * 20
    whole = tiny_bert(max_tokens=12)
    backbone = BlockFeatures(inner, reach=2)
    ids = [one.preparation.load_test(text, "a text") for one in (inner, backbone, whole)]
    assert [len(each) for each in ids] == [6, 12, 12] and torch.equal(ids[1], ids[2])
    batch = backbone.preparation.batch(ids[1:2], "cpu")
    torch.testing.assert_close(read(backbone, batch), read(BlockFeatures(whole), batch))
    far = BlockFeatures(inner, reach=1000)
    assert len(far.preparation.load_test(text, "a text")) == inner.longest


def test_views_stand_side_by_side_and_one_image_for_all() -> None:
    backbone, one = BlockFeatures(tiny_backbone(), 3), BlockFeatures(tiny_backbone(), 1)
    x = torch.stack([inputs(4, seed) for seed in range(3)], 1)
    expected = torch.cat([read(one, x[:, v]) for v in range(3)], 1)
    torch.testing.assert_close(read(backbone, x), expected)
    torch.testing.assert_close(read(backbone, x[:, 0]), expected[:, : one.dim].repeat(1, 3))


def test_short_views_are_read_a_sixth_of_the_blocks_earlier_and_run_no_further() -> None:
    inner = tiny_backbone(depth=6)
    x = torch.stack([inputs(4, seed) for seed in range(3)], 1)
    whole, short = BlockFeatures(inner, 3), BlockFeatures(inner, 3, short_views=True)
    shorter = BlockFeatures(tiny_backbone(depth=6), 1)
    shorter.inner.vit.blocks[-1] = torch.nn.Module()  # it cannot be run
    shorter.inner.depth -= 1
    shorter.first -= 1
    expected = [read(whole, x).chunk(3, 1)[0], *(shorter.embed(x[:, view]).features for view in (1, 2))]
    torch.testing.assert_close(read(short, x), torch.cat(expected, 1))
    assert short.dim == whole.dim


def test_the_usual_range_is_that_of_random_inputs_and_needs_no_data() -> None:
    short = BlockFeatures(tiny_backbone(depth=6), 3, short_views=True)
    features = read(short, random_inputs(short.inner))  # one image stands for all views
    mean, spread = map(short.for_all_views, short.usual_range())
    torch.testing.assert_close(mean, features.mean(0))
    torch.testing.assert_close(spread, features.std(0).clamp_min(1e-4))
    for inner in (tiny_backbone(), tiny_bert()):
        backbone = BlockFeatures(inner)
        mean, spread = backbone.usual_range()
        again = BlockFeatures(inner).usual_range()
        assert torch.equal(mean, again[0]) and torch.equal(spread, again[1])
        features = read(backbone, random_inputs(inner))
        torch.testing.assert_close(mean, features.mean(0))
        torch.testing.assert_close(spread, features.std(0).clamp_min(1e-4))


def test_random_texts_stand_between_the_marks_of_the_tokenizer() -> None:
    ids = random_inputs(tiny_bert())
    for row in ids:
        real = row[row != PAD]
        assert real[0] == 1 and real[-1] == 2 and (real >= 0).all() and len(real) >= 4
    assert len({int((row != PAD).sum()) for row in ids}) > 5


def test_the_inner_backbone_is_the_same_one_in_every_respect_but_its_features() -> None:
    inner = tiny_backbone()
    backbone = BlockFeatures(inner)
    assert backbone.weights_hash() == inner.weights_hash()
    backbone.compute_dtype = torch.float32
    assert inner.compute_dtype == torch.float32
    x = noise(2, 3, 16, 16)
    assert len(read(backbone, x)) == 2
