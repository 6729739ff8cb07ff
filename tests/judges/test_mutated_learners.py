"""A damaged learner answers as the undamaged one or is refused; nothing else is raised, whatever the damage."""

import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from contracts.cases import MASK
from softtf.backbones import Backbone
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import BiC, BlockRidge, DERpp, DualPrompt, LearnerSpec, RanPAC
from support.damage import Damage, damages, trials
from support.guards import bounded
from support.resealing import reseal
from support.tiny import classifier, pictures, tiny_backbone

pytestmark = pytest.mark.slow

SPECS: dict[str, LearnerSpec] = {
    "masks and statistics": DualPrompt(e_layers=(3,), adapt=MASK, feature_id=24, mcg=2, gradient_offset=5),
    "exemplars": DERpp(exemplars=7),
    "exemplars, bias correction": BiC(exemplars=20, feature_id=24),
    "closed form": RanPAC(32),
    "closed form of blocks": BlockRidge(33),
}
FORGED = ("json", "json", "tensor header", "tensor values", "own file", "swapped", "another's", "copied", "bytes")


@cache
def backbone() -> Backbone:
    return tiny_backbone()


@dataclass(frozen=True)
class Saved:
    """A learner on disk, another of the same form, and what the first one says."""

    folder: Path
    other: Path
    header: Any = field(repr=False)
    labels: list[Any]
    answers: Tensor = field(repr=False)


def answers(model: ContinualClassifier) -> Tensor:
    return model.predict_proba(pictures(6, 4))


def load(folder: Path, **options: Any) -> ContinualClassifier:
    return ContinualClassifier.from_pretrained(folder, backbone=backbone(), device="cpu", **options)


@pytest.fixture(scope="module")
def learners(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Saved]:
    found, place = {}, tmp_path_factory.mktemp("learners")
    for number, (name, spec) in enumerate(SPECS.items()):
        model, other = (classifier(spec, 2, backbone(), seed=seed) for seed in (3, 4))
        model.save_pretrained(place / f"{number}")
        other.save_pretrained(place / f"{number}-other")
        again = load(place / f"{number}")
        found[name] = Saved(place / f"{number}", place / f"{number}-other", again.header, again.labels, answers(again))
    return found


def outcome(folder: Path, **options: Any) -> str | tuple[Any, list[Any], Tensor]:
    """The refusal in one line, or what was loaded."""
    with bounded():
        try:
            model = load(folder, **options)
            return model.header, model.labels, answers(model)
        except UserError as error:
            line = str(error)
            assert line and "\n" not in line and len(line) < 2000
            return line


@trials(500)
@given(st.sampled_from(sorted(SPECS)), damages(), st.sampled_from([None, 0]))
def test_damage_is_found_or_changes_nothing(
    learners: dict[str, Saved], name: str, damage: Damage, limit: int | None
) -> None:
    saved = learners[name]
    with tempfile.TemporaryDirectory() as place:
        folder = shutil.copytree(saved.folder, Path(place) / "learner")
        damage(folder, saved.other)
        found = outcome(folder, memory_limit=limit)
    if isinstance(found, str):
        return
    header, labels, answers = found
    assert (header, labels) == (saved.header, saved.labels)
    assert answers.equal(saved.answers)


@trials(300)
@given(st.sampled_from(sorted(SPECS)), damages(*FORGED), st.sampled_from([None, 0]))
def test_what_a_stranger_changed_and_sealed_again_is_loaded_or_refused(
    learners: dict[str, Saved], name: str, damage: Damage, limit: int | None
) -> None:
    """Hashes find damage, not strangers (`sign` does); but no file of a stranger's ends in a traceback."""
    with tempfile.TemporaryDirectory() as place:
        folder = shutil.copytree(learners[name].folder, Path(place) / "learner")
        damage(folder, learners[name].other)
        reseal(folder)
        outcome(folder, memory_limit=limit)
