"""Gradient ID with offsets: what is gathered when a task ends, what answers make of it, what others lack."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from softtf.adaptations import SoftMask
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.inference import GradientIDOffset
from softtf.inference.base import gather_answers
from softtf.learners import L2P, NCM, CLIPPrompt, DualPrompt, LearnerSpec, LinearHead
from softtf.learners.class_table import ClassTable
from softtf.network import SharedPass
from softtf.runs.config import EvaluateConfig, RunConfig
from softtf.statistics.task_offsets import fit_offsets
from softtf.streams import Examples, Loader
from softtf.sweeps import place as places
from support.by_hand import scores
from support.tiny import (
    TRAIN,
    backbone_for,
    classifier,
    held_out,
    inputs,
    learned,
    task_data,
    tiny_backbone,
    train_task,
)

MASK = SoftMask((3, 4), init="uniform(0.5,1.5)")
SPEC = DualPrompt(e_layers=(3,), adapt=MASK, gradient_offset=6)
NAME = GradientIDOffset.name


def test_scores_are_gradient_ids_less_their_mean_and_the_offsets() -> None:
    learner, x = learned(SPEC).learner, inputs(7, 2)
    offsets = learner.gathered[NAME]["offsets"].tolist()
    assert len(offsets) == 3 and max(offsets) - min(offsets) > 1e-4
    for row, plain in zip(scores(learner, x, NAME).tolist(), scores(learner, x).tolist(), strict=True):
        assert row == pytest.approx([s - sum(plain) / 3 - b for s, b in zip(plain, offsets, strict=True)], abs=1e-9)


def test_where_tasks_are_equal_offsets_alone_decide() -> None:
    learner = learned(replace(SPEC, e_layers="none", adapt=SoftMask((3, 4)), gradient_offset=4)).learner
    for task in range(3):
        for mask in learner.slot_modules()["SoftMasks"].slot(task).values():
            mask.data.zero_()  # of a quantised mask: the steps are 0, and it is one
    found = scores(learner, inputs(3, 1), NAME)
    torch.testing.assert_close(found, -learner.gathered[NAME]["offsets"].expand(3, 3), rtol=0, atol=1e-6)


def test_the_means_are_those_of_the_tasks_own_unaugmented_examples_when_it_ended() -> None:
    """All of them where fewer are there than asked for."""
    spec = replace(SPEC, gradient_offset=1000)
    learner, classes = spec.new_learner(backbone_for(spec), 3), ClassTable()
    for task in range(2):
        loader = train_task(learner, classes, task, replace(TRAIN, augment=True)).loader
        x = loader.prepared(loader.loaded(range(len(loader.examples))))
        with torch.no_grad(), learner.computing_in(torch.float32):
            expected = GradientIDOffset().centred(learner, SharedPass(learner.network, x)).double().mean(0)
        torch.testing.assert_close(learner.gathered[NAME]["means"][task, : task + 1], expected, rtol=0, atol=1e-5)
    assert torch.equal(learner.gathered[NAME]["offsets"], fit_offsets(learner.gathered[NAME]["means"]))


def test_so_many_of_the_newest_tasks_examples_are_read_and_no_exemplars() -> None:
    learner = learned(SPEC).learner
    data = Examples.concatenate([task_data(2), task_data(0)])
    columns = torch.tensor([*[5 + i // 4 for i in range(16)], *[i // 4 for i in range(12)]])
    preparation = learner.network.backbone.preparation
    loader = Loader(data, columns, preparation, True, 5, "cpu")
    read: list[int] = []
    loader.loaded = lambda rows: read.extend(rows) or Loader.loaded(loader, rows)  # type: ignore[assignment]
    learner.gathered = {NAME: {"means": learner.gathered[NAME]["means"][:2, :2]}}
    with learner.computing_in(torch.float64):
        gather_answers(learner, loader)
    assert read == [0, 3, 6, 9, 12, 15]


def test_offsets_change_nothing_else_of_what_is_learned() -> None:
    with_offsets, without = classifier(SPEC), classifier(replace(SPEC, gradient_offset=0))
    ours, plain = with_offsets.learner, without.learner
    for task in range(3):
        expected = plain.task_state_dict(task)
        assert all(torch.equal(value, expected[name]) for name, value in ours.task_state_dict(task).items())
    x = inputs(4, 3)
    with torch.no_grad():
        shared = [SharedPass(learner.network, x.float()) for learner in (ours, plain)]
    assert torch.equal(shared[0].trunk.x, shared[1].trunk.x)
    assert NAME not in plain.gathered and not plain.statistics


@pytest.mark.parametrize(
    "spec",
    [L2P(4, 2, 2, adapt=MASK, gradient_offset=3), CLIPPrompt(2, 3, adapt=MASK, gradient_offset=3), SPEC],
    ids=["l2p", "clip", "dual-prompt"],
)
def test_every_learner_with_gradient_id_can_have_offsets(spec: LearnerSpec) -> None:
    model = learned(spec)
    (result,) = model.evaluate(held_out([0, 1, 2]), [f"{NAME}:batch3:own"]).items()
    assert result[0] == "Gradient ID (offsets), same-task batch(3), own classes"
    assert 0 <= result[1]["acc"] <= 100


@pytest.mark.parametrize("spec", [NCM(gradient_offset=9), LinearHead(gradient_offset=9), L2P(gradient_offset=9)])
def test_offsets_are_refused_where_no_task_has_a_network_of_its_own(spec: LearnerSpec) -> None:
    with pytest.raises(UserError, match="gradient_offset: .* does not infer the task by gradient-id.*; leave it out"):
        spec.new_learner(tiny_backbone(), 0)


@pytest.mark.parametrize("value", [-1, 10**9])
def test_a_senseless_number_of_examples_is_refused(value: int) -> None:
    with pytest.raises(UserError, match="gradient_offset must be between 0 and 50,000"):
        replace(SPEC, gradient_offset=value)


@pytest.mark.parametrize(
    ("name", "setting"), [(NAME, "gradient_offset=200"), ("feature-id", "feature_id=1000"), ("mcg", "mcg=10")]
)
def test_a_learner_without_the_statistics_says_how_to_get_them(name: str, setting: str) -> None:
    model = classifier(replace(SPEC, gradient_offset=0), 1)
    option = f"--learner.{setting.replace('_', '-').replace('=', ' ')}"
    for attempt in (
        lambda: model.predict([], inference=name),
        lambda: model.evaluate(held_out([0]), [name]),
        lambda: EvaluateConfig((name,)).policies_for(model.learner),
    ):
        with pytest.raises(UserError) as error:
            attempt()
        assert name in str(error.value) and setting in str(error.value) and option in str(error.value)


def test_asked_for_in_the_constructor_offsets_are_the_inference() -> None:
    model = ContinualClassifier(tiny_backbone(), SPEC, TRAIN, device="cpu", inference=NAME)
    assert model.inference.code == NAME


def test_finished_table_runs_of_before_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's folder is named after its settings; one that came later and is not used does not rename it."""
    named_after: list[dict] = []
    monkeypatch.setattr(places.json, "dumps", lambda plain, **_: named_after.append(plain) or "")
    for count in (0, 5):
        places.place(tmp_path, RunConfig(learner=DualPrompt(gradient_offset=count)))
    assert "gradient_offset" not in named_after[0]["learner"]
    assert named_after[1]["learner"]["gradient_offset"] == 5
