"""Unknown inputs: told apart, by each input alone, at the stated rate, and the same whatever else was learned."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from softtf.adaptations import SoftMask
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.inference.unknown import auroc
from softtf.learners import NCM, BlockRidge, DualPrompt, FlyCL, LearnerSpec, LinearHead, RanPAC, RanPACFSA
from support.tiny import classifier, generator, learned, pictures, tiny_backbone

MASKS = DualPrompt(e_layers=(3,), adapt=SoftMask((3, 4)), feature_id=24)
SPECS = {"default": BlockRidge(24), "ranpac": RanPAC(24), "masks": MASKS, "fly": FlyCL(24), "ncm": NCM(feature_id=24)}
each = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def scenes(kind: int, count: int, seed: int) -> list[Tensor]:
    """Images of one kind: a pattern of 4 x 4 colours, with noise."""
    pattern = torch.randint(30, 226, (4, 4, 3), generator=generator(1000 + kind))
    noise = torch.randint(-30, 31, (count, 4, 4, 3), generator=generator(50 * seed + kind))
    return list((pattern + noise).to(torch.uint8).repeat_interleave(4, 1).repeat_interleave(4, 2))


def task(kinds: range, count: int = 20, seed: int = 0) -> tuple[list[Tensor], list[str]]:
    return [x for k in kinds for x in scenes(k, count, seed)], [f"kind {k}" for k in kinds for _ in range(count)]


def taught(tasks: list[range], spec: LearnerSpec | None = None) -> ContinualClassifier:
    model = classifier(spec or BlockRidge(60), 0, tiny_backbone())
    for kinds in tasks:
        model.learn(task(kinds), f"kinds {kinds.start} on", progress=False)
    return model


@each
def test_each_input_is_looked_at_alone(spec: LearnerSpec) -> None:
    model, images = learned(spec), pictures(11, 5)
    whole = model.predict_unknown(images)
    order = torch.randperm(11, generator=generator(1))
    assert whole.shape == (11,) and whole.dtype == torch.float64 and ((whole >= 0) & (whole <= 1)).all()
    assert torch.equal(model.predict_unknown(images, batch_size=3), whole)
    assert torch.equal(model.predict_unknown(images[order], batch_size=4), whole[order])
    assert torch.equal(torch.cat([model.predict_unknown(x[None]) for x in images]), whole)
    groups = [i % 2 for i in range(11)]
    pooled = groups if "none" not in model.learner.policies else None
    assert torch.equal(model.predict_unknown(images, groups=pooled), whole)


def test_what_is_rejected_has_no_label_and_the_rest_has_its_own() -> None:
    model, images = learned(SPECS["default"]), pictures(11, 5)
    labels, strange = model.predict(images), model.predict_unknown(images)
    middle = float(strange.median())
    found = model.predict(images, unknown="reject", false_rejection=1 - middle)
    assert found == [None if value > middle else label for label, value in zip(labels, strange.tolist(), strict=True)]
    assert None in found and set(found) != {None}
    assert model.answer(images).unknown is None


@pytest.mark.parametrize("spec", [BlockRidge(60), RanPAC(60), NCM(feature_id=60)], ids=["default", "ranpac", "ncm"])
def test_known_inputs_are_rejected_as_often_as_stated_and_others_more_often(spec: LearnerSpec) -> None:
    model = taught([range(4), range(4, 8)], spec)
    known, other = task(range(8), 40, seed=3)[0], task(range(20, 28), 20, seed=3)[0]
    for rate in (0.05, 0.2):
        found = model.evaluate_unknown(known, other, rate)
        assert found["known_rejected"] <= 200 * rate and found["unknown_rejected"] > 3 * found["known_rejected"]
        assert found["auroc"] > 85


def test_it_is_that_of_the_learner_that_never_saw_what_is_gone_or_saw_what_was_merged(tmp_path: Path) -> None:
    images = task(range(12), 2, seed=4)[0]
    tasks = [range(3), range(3, 5), range(5, 8)]
    whole, never, alone = taught(tasks), taught([tasks[0], tasks[2]]), taught(tasks[1:2])
    expected = never.predict_unknown(images)
    before = whole.predict_unknown(images)
    assert whole.remove_task(1) == [] and torch.equal(whole.predict_unknown(images), expected)
    assert not torch.equal(before, expected)
    never.save_pretrained(tmp_path / "saved")
    loaded = ContinualClassifier.from_pretrained(tmp_path / "saved", backbone=tiny_backbone(), device="cpu")
    assert torch.equal(loaded.predict_unknown(images), expected)
    never.merge(alone)
    assert torch.equal(never.predict_unknown(images), taught([tasks[0], tasks[2], tasks[1]]).predict_unknown(images))


@pytest.mark.parametrize(
    ("spec", "tasks", "options", "words"),
    [
        (LinearHead(), 2, {}, "keeps no sums that tell unknown inputs; learn with feature_id=1000"),
        (BlockRidge(24), 2, {"unknown": "drop"}, "unknown value 'drop'. Known: answer, reject"),
        (BlockRidge(24), 2, {"false_rejection": 5}, "above 0 and below 1, not 5"),
        (BlockRidge(24), 2, {"false_rejection": float("nan")}, "above 0 and below 1, not nan"),
        (BlockRidge(24), 2, {"unknown": "answer", "false_rejection": 0.2}, "goes with unknown='reject'"),
        (BlockRidge(24), 0, {}, "nothing was learned yet"),
    ],
)
def test_what_cannot_be_is_refused(spec: LearnerSpec, tasks: int, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        classifier(spec, tasks).predict(pictures(2), **{"unknown": "reject"} | options)


def test_one_class_is_too_few() -> None:
    model = classifier(BlockRidge(24), 0)
    model.learn((pictures(4), ["a"] * 4), progress=False)
    assert model.predict(pictures(2)) == ["a", "a"]
    with pytest.raises(UserError, match="beside two classes or more"):
        model.predict_unknown(pictures(2))


@pytest.mark.slow
def test_an_adapted_backbone_is_read() -> None:
    model, images = learned(RanPACFSA(24)), pictures(5)
    before = model.predict_unknown(images)
    for adaptation in model.learner.network.adaptations:
        for value in adaptation.task_state_dict(0).values():
            value.zero_()
    assert before.shape == (5,) and not torch.equal(model.predict_unknown(images), before)


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    known, unknown = (torch.randint(0, 9, (n,), generator=generator(n)) / 8 for n in (13, 7))
    pairs = [1.0 if k < u else 0.5 if k == u else 0.0 for k in known.tolist() for u in unknown.tolist()]
    assert auroc(known, unknown) == pytest.approx(sum(pairs) / len(pairs))
