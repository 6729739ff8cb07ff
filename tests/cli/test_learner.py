"""`softtf learner`: one line for what is wrong, a new folder or the same one, and nothing else changed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from net import worlds
from softtf import ContinualClassifier, DualPrompt, SoftMask, TrainConfig
from softtf.cli.main import main
from softtf.learners import BlockRidge

pytestmark = pytest.mark.slow  # whole runs


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worlds.vit(tmp_path_factory.mktemp("models") / "vit")


def images(seed: int, count: int = 8) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 16, 16, 3), dtype=torch.uint8, generator=generator)


def saved(folder: Path, vit: Path, tasks: list[int], spec: Any = None) -> Path:
    train = TrainConfig(epochs=1, augment=False) if spec else None
    model = ContinualClassifier(str(vit), spec or BlockRidge(30, views=1), train, device="cpu")
    for task in tasks:
        model.learn((images(task), [f"{task}a", f"{task}b"] * 4), f"month {task + 1}", progress=False)
    model.save_pretrained(folder)
    return folder


def learner(*words: object) -> int:
    return main(["learner", *map(str, words)])


def loaded(folder: Path, vit: Path, **options: Any) -> ContinualClassifier:
    return ContinualClassifier.from_pretrained(folder, backbone=str(vit), device="cpu", **options)


@pytest.fixture
def months(tmp_path: Path, vit: Path) -> Path:
    return saved(tmp_path / "months", vit, [0, 1, 2])


def test_a_month_is_taken_out_and_what_is_left_never_saw_it(
    months: Path, tmp_path: Path, vit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    never = saved(tmp_path / "never", vit, [0, 2])
    assert learner("remove", months, "month 2", "--backbone", vit, "--output", tmp_path / "new") == 0
    assert "2 tasks, 4 classes" in capsys.readouterr().out
    assert learner("diff", tmp_path / "new", never, "--backbone", vit) == 0
    assert "no difference" in capsys.readouterr().out
    assert loaded(months, vit).num_tasks == 3
    assert learner("remove", months, 2, "--backbone", vit, "--in-place") == 0
    assert learner("diff", months, never, "--backbone", vit, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == []
    assert torch.equal(loaded(months, vit).predict_proba(images(5)), loaded(never, vit).predict_proba(images(5)))


def test_a_folder_is_loaded_as_it_was_after_its_first_tasks(months: Path, tmp_path: Path, vit: Path) -> None:
    """It used to be refused: a saved folder had what tasks share as it was after the last one alone."""
    then = loaded(saved(tmp_path / "then", vit, [0, 1]), vit)
    now = loaded(months, vit, tasks=2)
    assert torch.equal(now.predict_proba(images(5)), then.predict_proba(images(5)))
    now.learn((images(2), ["2a", "2b"] * 4), "month 3", progress=False)
    assert torch.equal(now.predict_proba(images(5)), loaded(months, vit).predict_proba(images(5)))


def test_learners_are_merged_kept_renamed_and_forgotten(
    months: Path, tmp_path: Path, vit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, both = saved(tmp_path / "other", vit, [3]), saved(tmp_path / "both", vit, [0, 1, 2, 3])
    assert learner("merge", months, other, "--backbone", vit, "--output", tmp_path / "merged") == 0
    assert learner("diff", tmp_path / "merged", both, "--backbone", vit) == 0
    assert "no difference" in capsys.readouterr().out
    assert learner("keep", months, 3, 1, "--backbone", vit, "--in-place") == 0
    assert loaded(months, vit).classes.names == ["month 3", "month 1"]
    assert learner("rename", months, "0a=zero", "--backbone", vit, "--in-place") == 0
    assert learner("rename", months, "1=third", "--tasks", "--backbone", vit, "--in-place") == 0
    assert loaded(months, vit).labels == ["2a", "2b", "zero", "0b"]
    assert loaded(months, vit).classes.names == ["third", "month 1"]
    assert learner("forget", months, "2a", "2b", "--backbone", vit, "--in-place") == 0
    assert loaded(months, vit).labels == ["zero", "0b"]


def test_a_task_is_taught_more_and_earlier_versions_come_back(
    tmp_path: Path, vit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures in a folder, a class a folder; the learner is then the one that saw all of them at once."""
    whole, folder = saved(tmp_path / "whole", vit, [0, 1]), tmp_path / "part"
    for place, picture in enumerate(images(1)[4:]):
        (more := tmp_path / "more" / f"1{'ab'[place % 2]}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.numpy()).save(more / f"{place}.png")
    model = ContinualClassifier(str(vit), BlockRidge(30, views=1), device="cpu")
    model.learn((images(0), ["0a", "0b"] * 4), "month 1", progress=False)
    model.learn((images(1)[:4], ["1a", "1b"] * 2), "month 2", progress=False)
    model.save_pretrained(folder)
    extend = ("extend", folder, "month 2", tmp_path / "more", "--backbone", vit, "--in-place", "--keep-versions", 3)
    assert learner(*extend) == 0
    assert "month 2: 4 more examples" in capsys.readouterr().out
    assert learner("diff", folder, whole, "--backbone", vit) == 0
    assert "no difference" in capsys.readouterr().out
    assert learner("versions", folder) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in told] == ["1", "now"] and "2 tasks, 4 classes" in told[0]
    assert learner("audit", folder, "--backbone", vit) == 0
    assert "earlier version 1" in capsys.readouterr().out
    assert learner("restore", folder, 1) == 0
    assert loaded(folder, vit).diff(model) == [] != loaded(folder, vit).diff(loaded(whole, vit))
    assert learner("prune", folder) == 0 and "1 earlier versions removed" in capsys.readouterr().out
    assert learner("versions", folder, "--json") == 0
    assert [version["number"] for version in json.loads(capsys.readouterr().out)] == [None]
    assert learner("audit", folder, "--backbone", vit) == 0
    assert "earlier version" not in capsys.readouterr().out


def test_what_is_known_and_held_is_told(
    months: Path, vit: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert learner("describe", months, "--backbone", vit, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    names = [task["name"] for task in told["tasks"]]
    assert told["method"] == "block-ridge" and names == ["month 1", "month 2", "month 3"]
    assert told["tasks"][0]["classes"] == ["0a", "0b"] and told["tasks"][0]["examples"] == [4, 4]
    assert told["tasks"][0]["learned"].endswith("Z") and told["accuracy"] == {}
    assert learner("describe", months, "--backbone", vit) == 0
    assert "2. month 2: 1a, 1b" in capsys.readouterr().out
    assert learner("audit", months, "--backbone", vit) == 0
    assert "sums over the features of its examples, none of which is kept: month 2" in capsys.readouterr().out


def test_the_card_is_shown_and_written(months: Path, vit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = (months / "README.md").read_text()
    (months / "README.md").unlink()
    assert learner("card", months, "--backbone", vit) == 0
    assert capsys.readouterr().out == written and not (months / "README.md").exists()
    assert learner("card", months, "--backbone", vit, "--in-place") == 0
    assert (months / "README.md").read_text() == written and "Not measured" in written


def test_a_run_s_learner_is_described_with_its_accuracy(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert learner("describe", run, "--json") == 0
    told, results = json.loads(capsys.readouterr().out), json.loads((run / "summary.json").read_text())
    for policy in results["policies"].values():
        values = told["accuracy"][policy["title"]]
        assert len(values) == len(told["tasks"]) and sum(values) / len(values) == pytest.approx(policy["acc"])
    assert learner("describe", run) == 0
    assert f"right on the test sets of its run, {policy['title']}: " in capsys.readouterr().out


def test_a_run_s_learner_has_what_the_run_measured_in_its_card(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = json.loads((run / "summary.json").read_text())["policies"]
    assert learner("card", run) == 0
    card = capsys.readouterr().out
    assert card == (run / "learner/README.md").read_text()
    for policy in results.values():
        assert f"| {policy['title']} | {policy['acc']:.1f} | {policy['forget']:.1f} |" in card


def test_traces_are_told_and_left_only_if_asked_for(
    tmp_path: Path, vit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = DualPrompt(g_layers="1", e_layers="none", adapt=SoftMask((6,)))
    folder = saved(tmp_path / "masks", vit, [0, 1], masks)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert learner("remove", folder, 1, "--backbone", vit, "--in-place") == 2
    assert "GeneralPrefix" in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert learner("remove", folder, 1, "--backbone", vit, "--in-place", "--leave-traces") == 0
    assert "GeneralPrefix" in capsys.readouterr().err and loaded(folder, vit).num_tasks == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("descrbe",), "did you mean 'describe'"),
        (("remove", 1), "say where to save: --output FOLDER"),
        (("remove", 1, "--in-place", "--output", "x"), "say where to save"),
        (("remove", "--in-place"), "needs what to remove"),
        (("remove", "month 9", "--in-place"), "did you mean 'month"),
        (("remove", 7, "--in-place"), "unknown task '7'"),
        (("forget", "0c", "--in-place"), "unknown class '0c'; did you mean '0"),
        (("rename", "0a", "--in-place"), "write OLD=NEW"),
        (("rename", "0a=0b", "--in-place"), "would be called '0b'"),
        (("describe", "--in-place"), "changes nothing"),
        (("diff",), "name one beside"),
        (("merge", "nowhere", "--in-place"), "is no learner and no run"),
    ],
)
def test_wrong_words_are_refused_in_one_line(
    words: tuple[object, ...], said: str, months: Path, vit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    action, *rest = words
    assert learner(action, months, *rest, "--backbone", vit) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
