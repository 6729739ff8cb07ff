"""The check of backbones accepts the one that other checks run on, and finds a weight that edits do not reach."""

import pytest

from softtf.testing import check_backbone, tiny_backbone


def test_the_tiny_backbone_is_lawful() -> None:
    check_backbone(tiny_backbone)


def test_a_weight_that_edits_do_not_reach_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from softtf.backbones.timm_vit import TimmViT

    true = TimmViT.block
    monkeypatch.setattr(TimmViT, "block", lambda self, index, tokens, edit=None: true(self, index, tokens))
    with pytest.raises(AssertionError, match="replacing .* changes features"):
        check_backbone(tiny_backbone)
