"""What a learner remembers and what was gathered are checked on loading as parameters are; hashes find no attackers."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from contracts.tiny import backbone_for, classifier
from softtf.errors import UserError
from softtf.learners import MBPA, NCM, SLM, BiC, ICaRL, LearnerSpec, LinearHead, RanPAC
from support.folders import load, replace_tensors

nan = float("nan")
WITH_STATISTICS = LinearHead(feature_id=24, mcg=2)
FORMS: dict[str, tuple[LearnerSpec, str]] = {
    "Feature ID": (WITH_STATISTICS, "memory.statistics.feature-id.weights"),
    "Feature ID's sums": (WITH_STATISTICS, "memory.statistics.feature-id.held_gram"),
    "MCG": (WITH_STATISTICS, "memory.statistics.mcg.centroids"),
    "NCM": (NCM(), "memory.sums"),
    "RanPAC": (RanPAC(32), "memory.gram"),
    "iCaRL": (ICaRL(exemplars=12), "memory.means"),
    "exemplars": (ICaRL(exemplars=12), "memory.exemplars.columns"),
    "BiC": (BiC(exemplars=18), "memory.alpha"),
    "MBPA++": (MBPA(write=1.0), "memory.episodes.keys"),
    "SLM": (SLM(keys=2, groups=4), "memory.store.keys"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[LearnerSpec], Path]:
    """Gives the folder of a learner of two tasks, which is saved once."""
    made: dict[LearnerSpec, Path] = {}

    def folder_of(spec: LearnerSpec) -> Path:
        if spec not in made:
            made[spec] = tmp_path_factory.mktemp("learners") / "saved"
            classifier(spec, 2).save_pretrained(made[spec])
        return made[spec]

    return folder_of


def refused(folder: Path, spec: LearnerSpec, edit: Callable[[dict[str, Tensor]], object], words: str) -> None:
    replace_tensors(folder, edit, "shared-002")
    with pytest.raises(UserError, match=words) as caught:
        load(folder, backbone=backbone_for(spec))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", FORMS)
def test_a_memory_of_another_shape_type_or_with_nan_is_refused(
    kind: str, folders: Callable[[LearnerSpec], Path], tmp_path: Path
) -> None:
    spec, key = FORMS[kind]
    changes: list[tuple[Callable[[Tensor], Tensor], str]] = [
        (lambda value: value[None], "has shape"),
        (lambda value: value.to(torch.complex64), "has type torch.complex64"),
    ]
    if kind != "exemplars":
        changes.append((lambda value: value.index_fill(0, torch.tensor([0]), nan), "NaN of"))
    for number, (change, words) in enumerate(changes):
        folder = tmp_path / str(number)
        shutil.copytree(folders(spec), folder)
        load(folder, backbone=backbone_for(spec))
        refused(folder, spec, lambda t, change=change: t.update({key: change(t[key])}), f"{key}.*{words}")  # type: ignore[misc]


def test_statistics_that_are_not_this_learners_or_are_missing_are_refused(
    folders: Callable[[LearnerSpec], Path], tmp_path: Path
) -> None:
    for name, edit, words in (
        ("a", lambda t: t.update({"memory.statistics.x.y": torch.zeros(1)}), "no such statistics"),
        ("b", lambda t: [t.pop(k) for k in list(t) if ".mcg." in k], "statistics of 'mcg' are missing"),
    ):
        shutil.copytree(folders(WITH_STATISTICS), tmp_path / name)
        refused(tmp_path / name, WITH_STATISTICS, edit, words)
