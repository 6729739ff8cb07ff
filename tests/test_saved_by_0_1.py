"""What version 0.1 saved still loads, and answers as it did.

If a later version must refuse it, that is one line with the remedy, and the test of it stands here.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from net import worlds
from saved_by_0_1.make import BACKBONE, HERE, LEARNERS, SIZES, SOURCE, answers
from softtf import ContinualClassifier, UserError
from softtf.cli.main import main

EXPECTED = json.loads((HERE / "expected.json").read_text())


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worlds.vit(tmp_path_factory.mktemp("models") / "vit", **SIZES)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    return worlds.pictures(tmp_path_factory.mktemp("data") / "pictures", "bmp")


@pytest.mark.parametrize("limit", [None, 0])
@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_answers_as_it_did(name: str, limit: int | None, vit: Path, data: tuple[Path, Any, Any]) -> None:
    model = ContinualClassifier.from_pretrained(HERE / name, backbone=str(vit), device="cpu", memory_limit=limit)
    found, expected = answers(model, data[2]), EXPECTED[name]
    assert len(set(expected["labels"])) > 1
    assert found["labels"] == expected["labels"] and found["tasks"] == expected["tasks"]
    torch.testing.assert_close(
        torch.tensor(found["probabilities"]), torch.tensor(expected["probabilities"]), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_learns_on_and_is_saved_again(
    name: str, vit: Path, data: tuple[Path, Any, Any], tmp_path: Path
) -> None:
    _, train, test = data
    model = ContinualClassifier.from_pretrained(HERE / name, backbone=str(vit), device="cpu")
    model.learn(train[2], progress=False)
    assert model.labels[-2:] == ["fox", "gnu"]
    model.save_pretrained(tmp_path / "again")
    again = ContinualClassifier.from_pretrained(tmp_path / "again", backbone=str(vit), device="cpu")
    assert torch.equal(model.predict_proba(test[2][0]), again.predict_proba(test[2][0]))


def test_another_backbone_is_refused_in_one_line(vit: Path, tmp_path: Path) -> None:
    other = shutil.copytree(vit, tmp_path / "other")
    worlds.save_file(
        {name: value + 1 for name, value in load_file(vit / "model.safetensors").items()}, other / "model.safetensors"
    )
    with pytest.raises(UserError, match="was learned on other weights.*give the backbone it was learned on") as caught:
        ContinualClassifier.from_pretrained(HERE / "soft-tf", backbone=str(other), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_run_that_was_stopped_goes_on_to_the_accuracy_it_would_have_had(
    vit: Path, data: tuple[Path, Any, Any], tmp_path: Path
) -> None:
    run = shutil.copytree(HERE / "run", tmp_path / "run")
    for file in (run / "config.yaml", run / "learner/learner.json"):
        file.write_text(file.read_text().replace(BACKBONE, str(vit)).replace(SOURCE, str(data[0])))
    assert main(["resume", str(run), "--backbone", str(vit)]) == 0
    found = json.loads((run / "accuracy.json").read_text())
    assert found.keys() == EXPECTED["run"].keys()
    for policy, matrix in EXPECTED["run"].items():
        assert found[policy]["total"] == matrix["total"]
        assert found[policy]["correct"][0] == matrix["correct"][0]  # what was scored before it was stopped
        for then, now in zip(matrix["correct"], found[policy]["correct"], strict=True):
            assert sum(abs(a - b) for a, b in zip(then, now, strict=True)) <= 3  # on another machine
    assert main(["evaluate", str(run), "--backbone", str(vit), "--policy", *found]) == 0
    for file in (run / "rescored").glob("*.json"):
        scored = json.loads(file.read_text())
        assert scored["accuracy"] == found[scored["policy"]]
