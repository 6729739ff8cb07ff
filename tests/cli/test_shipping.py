"""`softtf learner export|pack|unpack`: files for others; one line for what is wrong. Push and pull: test_hub."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from net import worlds
from softtf import BlockRidge, ContinualClassifier
from softtf.cli.main import main
from softtf.cli.options import Learner


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worlds.vit(tmp_path_factory.mktemp("models") / "vit")


@pytest.fixture(scope="module")
def birds(vit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = ContinualClassifier(str(vit), BlockRidge(30, views=1), device="cpu")
    images = torch.randint(0, 256, (8, 16, 16, 3), dtype=torch.uint8)
    model.learn((images, ["wren", "heron"] * 4), "March", progress=False)
    folder = tmp_path_factory.mktemp("learners") / "birds"
    model.save_pretrained(folder)
    return folder


def learner(*words: object) -> int:
    return main(["learner", *map(str, words)])


@pytest.mark.slow
def test_a_learner_is_packed_described_and_unpacked(
    birds: Path, vit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert learner("pack", birds, "--output", tmp_path / "birds.zip") == 0
    assert learner("describe", tmp_path / "birds.zip", "--backbone", vit) == 0
    assert "1 tasks, 2 classes" in capsys.readouterr().out
    assert learner("unpack", tmp_path / "birds.zip", "--output", tmp_path / "copy") == 0
    assert learner("diff", birds, tmp_path / "copy", "--backbone", vit) == 0
    assert "no difference" in capsys.readouterr().out
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    for place in (birds, tmp_path / "birds.zip"):
        assert main(["predict", str(place), str(tmp_path / "red.png"), "--backbone", str(vit)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


OPTIONS: dict[str, tuple[object, ...]] = {
    **{name: () for name in ("in_place", "leave_traces", "tasks", "json", "private")},
    **{"output": ("x",), "keep_versions": (2,), "format": ("torch",), "policy": ("none",), "revision": ("main",)},
}


def test_these_are_all_options_of_a_learner() -> None:
    words = {field.name for field in fields(Learner)} - {"action", "folder", "names", "backbone", "imports"}
    assert words == OPTIONS.keys()


@pytest.mark.parametrize(
    ("actions", "read"),
    [
        (("describe", "audit", "versions"), {"json"}),
        (("card",), {"in_place"}),
        (("remove", "keep", "forget"), {"output", "in_place", "keep_versions", "leave_traces"}),
        (("rename",), {"output", "in_place", "keep_versions", "tasks"}),
        (("merge", "extend"), {"output", "in_place", "keep_versions"}),
        (("diff",), {"json"}),
        (("restore", "prune"), set()),
        (("export",), {"output", "format", "policy"}),
        (("pack", "unpack"), {"output"}),
        (("push",), {"revision", "private"}),
        (("pull",), {"output", "revision"}),
    ],
)
def test_an_option_that_an_action_would_ignore_is_refused(
    actions: tuple[str, ...], read: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for action in actions:
        for name in OPTIONS.keys() - read:
            option = f"--{name.replace('_', '-')}"
            assert learner(action, "nowhere", option, *OPTIONS[name]) == 2
            assert f"does not read {option}; leave it out" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["describe", "audit", "card", "versions", "pack", "unpack", "pull"])
def test_words_that_an_action_would_ignore_are_refused(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert learner(action, "nowhere", "May") == 2
    assert "takes no more words; leave out May" in capsys.readouterr().err


def test_what_is_asked_of_an_export_reaches_it(
    birds: Path, vit: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []

    def export(model: ContinualClassifier, folder: Path, **options: Any) -> dict[str, Any]:
        asked.append({"folder": str(folder), "labels": model.labels, **options})
        return {"task": "March", "largest_difference": 2e-7}

    monkeypatch.setattr(ContinualClassifier, "export", export)
    assert learner("export", birds, "--backbone", vit, "--output", "files", "--format", "torch") == 0
    assert learner("export", birds, "March", "--backbone", vit, "--output", "files", "--policy", "none") == 0
    common = {"folder": "files", "labels": ["heron", "wren"]}
    assert asked == [
        common | {"format": "torch", "inference": None, "task": None},
        common | {"format": "onnx", "inference": "none", "task": 0},
    ]
    assert "answers like the learner, to 2e-07" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export", "BIRDS"), "say where to export it: --output FOLDER"),
        (("export", "BIRDS", "--output", "x", "--format", "onx"), "did you mean 'onnx'"),
        (("export", "BIRDS", "May", "--output", "x"), "unknown task 'May'. Known: March"),
        (("export", "BIRDS", "March", "--output", "x"), "has an answer of its own"),
        (("export", "BIRDS", "--output", "x", "--policy", "oracle"), "export one task"),
        (("pack", "BIRDS"), "say where to pack it: --output FILE.zip"),
        (("pack", "nowhere", "--output", "x"), "nowhere"),
        (("unpack", "nowhere.zip", "--output", "x"), "nowhere.zip"),
        (("push", "BIRDS"), "takes user/name"),
        (("push", "BIRDS", "birds"), "write user/name"),
        (("pull", "birds", "--output", "x"), "write user/name"),
        (("pak", "BIRDS"), "did you mean 'pack'"),
    ],
)
def test_wrong_words_are_refused_in_one_line(
    words: tuple[str, ...], said: str, birds: Path, vit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert learner(*(str(birds) if word == "BIRDS" else word for word in words), "--backbone", vit) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not Path("x").exists()
