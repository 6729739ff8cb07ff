"""A learner goes to a hub and comes back the same; what the hub holds is read like a stranger's folder."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from softtf.classifier import ContinualClassifier
from softtf.cli.main import main
from softtf.errors import UserError
from softtf.learners import BlockRidge
from softtf.saving.card import CARD, MARK
from softtf.saving.hub import check_name
from softtf.saving.manifest import seal
from support.folders import load
from support.hub import FakeHub, fake_hub
from support.tiny import pictures, task_data, tiny_backbone

NAME = "museum/birds"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with fake_hub(tmp_path / "cache") as hub:
        yield hub


def pulled(name: str = NAME, **options: object) -> ContinualClassifier:
    return ContinualClassifier.from_pretrained(name, backbone=tiny_backbone(), device="cpu", **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_learner_comes_back_the_same_and_its_commit_is_told(hub: FakeHub, saved: Path) -> None:
    model = load(saved)
    commit = model.push_to_hub(NAME, private=True, sign=b"k" * 16)
    for revision in (None, commit, "main"):
        back = pulled(revision=revision, verify=b"k" * 16)
        assert back.revision == commit and back.labels == model.labels
        assert torch.equal(back.predict_proba(pictures(6)), model.predict_proba(pictures(6)))
    assert back.learner.num_tasks == 3 and model.revision is None and hub.private[NAME] in (True, "private")
    on_disk = pulled(memory_limit=0)
    assert torch.equal(on_disk.predict_proba(pictures(6)), model.predict_proba(pictures(6)))


@pytest.mark.slow
def test_a_revision_is_pinned_and_an_update_removes_what_is_no_part_of_it(hub: FakeHub, saved: Path) -> None:
    first = load(saved).push_to_hub(NAME)
    second = load(saved, tasks=2).push_to_hub(NAME)
    assert pulled(revision=first).num_tasks == 3 and pulled().num_tasks == 2 and pulled().revision == second
    assert not [name for name in hub.commits[second] if name.startswith(("task-003", "shared-003"))]
    trial = load(saved, tasks=1).push_to_hub(NAME, revision="trial")
    assert pulled(revision="trial").revision == trial and pulled().num_tasks == 2


@pytest.mark.slow
def test_the_card_names_the_repository_and_keeps_what_its_user_wrote(hub: FakeHub, saved: Path) -> None:
    commit = load(saved).push_to_hub(NAME)
    card = hub.commits[commit][CARD].decode()
    assert f'from_pretrained("{NAME}")' in card and card.startswith("---\nlibrary_name: softtf\n")
    hub.commits[commit][CARD] = (card + "\nOurs.\n").encode()
    again = load(saved, tasks=2).push_to_hub(NAME)
    assert hub.commits[again][CARD].decode().endswith(f"{MARK}\n\nOurs.\n")
    assert "2 tasks" in hub.commits[again][CARD].decode()


def test_only_what_the_manifest_names_is_asked_for(hub: FakeHub, saved: Path) -> None:
    commit = load(saved).push_to_hub(NAME)
    hub.commits[commit] |= {"evil.py": b"x", "config.json": b"{}", "task-009.json": b"{}", "model.safetensors": b"x"}
    hub.asked.clear()
    pulled()
    named = {part["file"] for part in json.loads(hub.commits[commit]["manifest.json"])["files"].values()}
    assert {path.rpartition("/")[2] for path in hub.asked} == named | {"manifest.json"}


@pytest.mark.parametrize("file", ["../../evil.json", "/etc/passwd", "model/task-001.json", "evil.py"])
def test_a_manifest_that_names_other_files_is_refused(file: str, hub: FakeHub, saved: Path) -> None:
    commit = load(saved).push_to_hub(NAME)
    content = json.loads(hub.commits[commit]["manifest.json"])
    content.pop("sha256")
    content["files"]["task-001.json"]["file"] = file
    hub.commits[commit]["manifest.json"] = seal(content).encode()
    hub.asked.clear()
    with pytest.raises(UserError, match="not the name of a file"):
        pulled()
    assert all(path.endswith("/manifest.json") for path in hub.asked)


@pytest.mark.slow
def test_a_changed_file_is_found(hub: FakeHub, saved: Path) -> None:
    commit = load(saved).push_to_hub(NAME)
    hub.commits[commit]["task-001.safetensors"] += b"x"
    with pytest.raises(UserError, match="is not the file that was saved"):
        pulled()


def test_what_is_not_there_is_one_line(hub: FakeHub, saved: Path, tmp_path: Path) -> None:
    load(saved).push_to_hub(NAME)
    for name, revision in (("museum/fish", None), (NAME, "v9"), (NAME, "0" * 40)):
        with pytest.raises(UserError, match=f"could not load {name} from the Hub") as caught:
            pulled(name, revision=revision)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="revision is for learners on the Hub"):
        load(saved, revision="main")
    hub.asked.clear()
    with pytest.raises(UserError):
        ContinualClassifier.from_pretrained(Path(NAME), backbone=tiny_backbone(), device="cpu")
    with pytest.raises(UserError):
        pulled("nowhere")
    assert not hub.asked  # a path, or a word, is never looked up


@pytest.mark.parametrize("name", ["birds", "a/b/c", "../birds", "museum/..", "mu seum/birds", "museum/birds\n", ""])
def test_what_is_no_name_is_refused_before_anything_is_sent(name: str, saved: Path, hub: FakeHub) -> None:
    with pytest.raises(UserError, match="no name of a repository"):
        load(saved).push_to_hub(name)
    with pytest.raises(UserError, match="revision must be"):
        check_name(NAME, "../x")
    assert not hub.asked


@pytest.mark.slow
def test_the_command_line_pushes_and_pulls(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="random"):
        model = ContinualClassifier("random:test_vit", BlockRidge(30, views=1), device="cpu")
    model.learn(task_data(0), progress=False)
    model.save_pretrained("birds")
    assert main(["learner", "push", "birds", NAME]) == 0
    commit = hub.branches[NAME]["main"]
    assert capsys.readouterr().out == f"{NAME} on the Hub: commit {commit}\n"
    assert main(["learner", "pull", NAME, "--output", "copy", "--revision", commit]) == 0
    assert commit in capsys.readouterr().out
    assert main(["learner", "diff", "birds", "copy"]) == 0
    assert "no difference" in capsys.readouterr().out
