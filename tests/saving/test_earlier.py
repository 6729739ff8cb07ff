"""Earlier versions in a learner's folder: kept only if asked for, whole, and gone without a trace once pruned."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import NCM
from softtf.saving import list_versions, prune_versions, restore_version
from softtf.saving.manifest import Manifest
from support.folders import load
from support.stopping import Killer
from support.tiny import classifier, task_data


def grown(folder: Path, keep: int = 9) -> list[ContinualClassifier]:
    """A learner saved to one folder after each of three tasks, in place; the learners after each."""
    model = classifier(NCM(), 0)
    for task in range(3):
        model.learn(task_data(task), f"month {task + 1}", progress=False)
        model.save_pretrained(folder, replace=True, keep_versions=keep)
    return [load(folder, tasks=count) for count in (1, 2, 3)]


def held(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def needed(folder: Path) -> set[str]:
    """The files that the folder's versions name, their manifests, and the card of the newest."""
    files = [path for path in folder.iterdir() if path.name == "manifest.json" or path.name.startswith("version-")]
    return {"README.md", *(path.name for path in files)} | {
        p.file for f in files for p in Manifest.of_file(f).parts.values()
    }


def test_versions_are_listed_restored_and_pruned(tmp_path: Path) -> None:
    models = grown(tmp_path)
    found = list_versions(tmp_path)
    assert [(v.number, len(v.tasks), v.classes) for v in found] == [(1, 1, 3), (2, 2, 5), (None, 3, 9)]
    assert found[-1].tasks == ("month 1", "month 2", "month 3") and found[0].saved.endswith("Z")
    assert held(tmp_path) == needed(tmp_path)
    restore_version(tmp_path, 2)
    assert load(tmp_path).diff(models[1]) == []
    assert [(v.number, len(v.tasks)) for v in list_versions(tmp_path)] == [(1, 1), (3, 3), (None, 2)]
    restore_version(tmp_path, 3)
    assert load(tmp_path).diff(models[2]) == [] and held(tmp_path) == needed(tmp_path)
    assert prune_versions(tmp_path, 1) == 1 and [v.number for v in list_versions(tmp_path)] == [4, None]
    assert prune_versions(tmp_path) == 1 and held(tmp_path) == needed(tmp_path)
    assert load(tmp_path).diff(models[2]) == []


@pytest.mark.filterwarnings("error")
def test_what_was_taken_out_is_in_no_file_unless_versions_are_kept(tmp_path: Path) -> None:
    """Nor is anybody warned of a version that the learner itself was saved as."""
    grown(tmp_path, keep=0)
    model, part = load(tmp_path), Manifest.read(tmp_path).parts["task-002.safetensors"].sha256
    model.remove_task("month 2")
    model.save_pretrained(tmp_path, replace=True)
    assert [v.number for v in list_versions(tmp_path)] == [None] and held(tmp_path) == needed(tmp_path)
    assert part not in {p.sha256 for p in Manifest.read(tmp_path).parts.values()}


@pytest.mark.filterwarnings("error")
def test_a_learner_changed_in_place_replaces_itself_without_a_warning(tmp_path: Path) -> None:
    """It used to be told that its folder held another learner."""
    grown(tmp_path)
    model = load(tmp_path)
    for change in (
        lambda: model.remove_task(1),
        lambda: model.rename({"a": "z"}),
        lambda: model.keep([1, 0]),
        lambda: model.forget(["z"]),
        lambda: model.keep([]),
    ):
        change()
        model.save_pretrained(tmp_path, replace=True)
    older = classifier(NCM(), 1)
    older.save_pretrained(tmp_path, replace=True)
    load(tmp_path).save_pretrained(tmp_path / "elsewhere")
    other = classifier(NCM(), 2)
    other.rename({"a": "another"})
    with pytest.warns(UserWarning, match="held another learner"):
        other.save_pretrained(tmp_path, replace=True)


def test_wrong_numbers_and_damage_are_refused_and_change_nothing(tmp_path: Path) -> None:
    grown(tmp_path, keep=1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    wrong: dict[str, Callable[[], object]] = {
        "has no version 7; its earlier versions: 2": lambda: restore_version(tmp_path, 7),
        "keep must be a number of versions from 0, not -1": lambda: prune_versions(tmp_path, -1),
        "keep_versions": lambda: load(tmp_path).save_pretrained(tmp_path, replace=True, keep_versions=-1),
        "is missing": lambda: list_versions(tmp_path / "nowhere"),
    }
    for words, act in wrong.items():
        with pytest.raises(UserError, match=words):
            act()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    own = {p.file for p in Manifest.of_file(tmp_path / "version-002.json").parts.values()}
    (file,) = own - {p.file for p in Manifest.read(tmp_path).parts.values()}
    (tmp_path / file).write_bytes(b"damaged")
    with pytest.raises(UserError, match="is not the file that was saved|SHA-256"):
        restore_version(tmp_path, 2)
    assert load(tmp_path).num_tasks == 3
    prune_versions(tmp_path)
    assert held(tmp_path) == needed(tmp_path)


@pytest.mark.slow
def test_a_crash_at_any_file_leaves_all_versions_whole(tmp_path: Path) -> None:
    for act in (lambda folder: load(folder, tasks=1).save_pretrained(folder, replace=True, keep_versions=9), restore_1):
        for number in range(1000):
            folder = tmp_path / f"{act.__name__} {number}"
            models = grown(folder)
            hook, pid = Killer(folder, number, False), os.fork()
            if pid == 0:
                code = 2
                try:
                    sys.addaudithook(hook)
                    act(folder)
                    code = 3 if hook.left >= 0 else 0
                finally:
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert code in (3, -signal.SIGKILL)
            assert {len(v.tasks) for v in list_versions(folder)} == {1, 2, 3}
            for version in list_versions(folder)[:-1]:
                restore_version(folder, version.number or 0)
                assert load(folder).diff(models[len(version.tasks) - 1]) == []
            prune_versions(folder)
            assert held(folder) == needed(folder)
            if code == 3:
                break
        assert number > 5


def restore_1(folder: Path) -> None:
    restore_version(folder, 1)
