"""A task of many examples: beside its features, a solved method takes memory that hardly grows with them."""

import pytest
import torch
from benchmarks.timing import peak_bytes

from softtf.backbones import features
from softtf.learners import KLDA, BlockRidge, FlyCL, LayUP, LearnerSpec, RanPAC
from softtf.learners.closed_form import ClosedFormLearner
from support.counting import COUNT, backbone_of, loader_of
from support.tiny import noise, tiny_backbone

MANY = 2**14  # in each of LayUP's four folds as many as are read at once
SPECS = (RanPAC(32), FlyCL(32), KLDA(32, maps=2), LayUP(1), BlockRidge(32, views=1))


def bytes_to_fit(spec: LearnerSpec, count: int) -> tuple[int, int]:
    """The peak while so many examples of two classes are fitted, and the bytes of their features."""
    learner = spec.new_learner(tiny_backbone(embed_dim=128), 0)
    assert isinstance(learner, ClosedFormLearner)
    some = noise(count, learner.network.backbone.dim).float()
    learner.open_slots(2)
    columns = torch.arange(count) % 2
    peak = peak_bytes(lambda: learner.fit(some, columns, torch.arange(2)), torch.device("cpu"))
    return peak, some.nbytes


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_twice_the_examples_take_far_less_more_than_their_features(spec: LearnerSpec) -> None:
    (few, size), (many, twice) = bytes_to_fit(spec, MANY), bytes_to_fit(spec, 2 * MANY)
    assert many - few < (twice - size) / 4


def test_features_are_computed_into_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_query", lambda _, inputs: torch.zeros(len(inputs), 20_000))
    backbone, loader = backbone_of(), loader_of()
    peak = peak_bytes(lambda: features.fixed_queries(backbone, loader), torch.device("cpu"))
    assert peak < 2.2 * 4 * 20_000 * COUNT  # and those of one batch, which here are nearly all
