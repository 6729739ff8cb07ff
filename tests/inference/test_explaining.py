"""Explanations agree with what `predict` and its kin return, one by one."""

import pytest
import torch

from softtf.adaptations import SoftMask
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import BlockRidge, DualPrompt, LearnerSpec, LinearHead
from support.tiny import learned, pictures
from support.tiny_bert import text_task, texts, tiny_bert

MASKS = DualPrompt(e_layers=(3,), adapt=SoftMask((3, 4)), feature_id=24)
SPECS = {"default": BlockRidge(24), "masks": MASKS, "head": LinearHead()}
POLICIES = {"default": "none", "masks": "feature-id:joint", "head": "none"}


@pytest.mark.parametrize(("spec", "policy"), zip(SPECS.values(), POLICIES.values(), strict=True), ids=SPECS)
def test_each_part_is_what_other_calls_return(spec: LearnerSpec, policy: str) -> None:
    model, images = learned(spec), pictures(4, 5)
    found = model.explain(images, inference=policy)
    proba, tasks = model.predict_proba(images, inference=policy), model.predict_task(images, inference=policy)
    assert [one.label for one in found] == model.predict(images, inference=policy)
    for i, one in enumerate(found):
        assert one.probability == pytest.approx(float(proba[i].max())) and one.task == model.classes.names[tasks[i]]
        assert list(one.top) == model.top_k(images[i], inference=policy)[0] and one.top[0][0] == one.label
        shares = [sum(float(proba[i, model.labels.index(x)]) for x in own) for own in model.classes.tasks]
        assert [p for _, p in one.tasks] == pytest.approx(shares, abs=1e-5)
        assert [name for name, _ in one.tasks] == model.classes.names
        assert one.attention is not None and one.attention.shape == (2, 2) and (one.attention >= 0).all()
        assert one.attention.sum() <= 1 + 1e-6
    if spec is SPECS["head"]:
        assert {(one.unknown, one.nearest, one.networks) for one in found} == {(None, (), ())}
        return
    assert [one.unknown for one in found] == model.predict_unknown(images).tolist()
    for one in found:
        scores = [score for _, score in one.nearest]
        assert len(scores) == 5 and scores == sorted(scores, reverse=True)
        likely = [name for name, p in one.tasks if p > 0.01]
        assert set(likely) <= set(one.networks) if spec is MASKS else one.networks == ()


def test_the_likeliest_labels_come_first() -> None:
    model, images = learned(SPECS["default"]), pictures(3, 5)
    proba = model.predict_proba(images)
    for row, found in zip(proba, model.top_k(images, 100), strict=True):
        order = row.sort(descending=True)
        assert [label for label, _ in found] == [model.labels[i] for i in order.indices]
        assert [p for _, p in found] == order.values.tolist()
    assert [len(found) for found in model.top_k(images, 2)] == [2, 2, 2]
    with pytest.raises(UserError, match="k must be"):
        model.top_k(images, 0)


def test_a_text_has_no_map() -> None:
    model = ContinualClassifier(tiny_bert(), BlockRidge(24), device="cpu")
    for task in range(2):
        model.learn(text_task(task, 4), progress=False)
    found = model.explain(list(texts(2, 7)))
    assert [one.attention for one in found] == [None, None] and found[0].unknown is not None
    assert torch.tensor([one.unknown for one in found]).tolist() == pytest.approx(
        model.predict_unknown(list(texts(2, 7))).tolist()
    )
