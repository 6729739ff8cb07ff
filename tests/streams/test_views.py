"""Each view is what its own preparation gives."""

import torch

from softtf.streams.images import ImagePreparation
from softtf.streams.views import ImageViews
from support.tiny import pictures


def test_each_view_is_its_own_preparations_image() -> None:
    usual = ImagePreparation(16)
    views = ImageViews.of(usual, 3)
    image = pictures(1, 3)[0].numpy()
    loaded = views.load_test(image, "here")
    assert loaded.shape == (3, 3, 16, 16) and loaded.dtype == torch.uint8
    for view, resize in zip(loaded, (usual.resize, 16, 24), strict=True):
        assert torch.equal(view, ImagePreparation(16, resize).load_test(image, "here"))
    assert torch.equal(views.load_train(image, "here"), loaded)
    batch = views.batch([loaded, loaded], "cpu")
    assert torch.equal(batch, torch.stack([loaded, loaded]).float() / 255)
    assert torch.equal(views.augment_batch(torch.stack([loaded]), "cpu", torch.Generator()), batch[:1])


def test_other_views_have_another_fingerprint() -> None:
    prints = {ImageViews.of(ImagePreparation(size), count).fingerprint for size in (16, 32) for count in (1, 2, 3)}
    assert len(prints) == 6
