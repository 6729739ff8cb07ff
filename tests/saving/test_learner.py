"""What is saved is there whole or not at all, whatever the disk does, and nothing else is in the folder."""

import errno
import os
from pathlib import Path

import pytest

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import LinearHead
from softtf.saving.learner import save_task
from softtf.saving.loading import load_learner
from softtf.saving.manifest import Manifest, count_tasks, task_json
from softtf.saving.shares import task_tensors_of
from support.folders import load
from support.tiny import TRAIN, assert_same, classifier, pictures, snapshot, tiny_backbone


def test_saving_into_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    model = classifier(LinearHead(), 1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("all I have")
    (tmp_path / "file").write_text("all I have")
    for target in (tmp_path / "full", tmp_path / "file"):
        with pytest.raises(UserError, match="not empty"):
            model.save_pretrained(target)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "empty", tmp_path / "deep" / "er"):
        model.save_pretrained(target)
        assert load(target).labels == model.labels
    with pytest.raises(UserError, match="not empty"):
        model.save_pretrained(tmp_path / "empty")


def test_a_label_that_cannot_be_saved_is_refused_before_it_is_learned(tmp_path: Path) -> None:
    model = ContinualClassifier(tiny_backbone(), LinearHead(), TRAIN, device="cpu")
    with pytest.raises(UserError, match="cannot save the label"):
        model.learn((pictures(4), [frozenset({1}), "x"] * 2), progress=False)
    model.learn((pictures(4), ["y", "x"] * 2), progress=False)
    model.save_pretrained(tmp_path / "new")
    assert load(tmp_path / "new").labels == ["x", "y"]


def test_nothing_in_the_folder_is_a_pickle_or_the_backbone(saved: Path) -> None:
    assert {p.suffix for p in saved.iterdir()} == {".json", ".safetensors"}
    size = sum(p.stat().st_size for p in saved.glob("task-*.safetensors"))
    learner = load(saved).learner
    own = sum(v.nbytes for t in range(3) for v in task_tensors_of(learner, t).values())
    assert own <= size < own + 3 * 4096


@pytest.mark.slow
@pytest.mark.parametrize("allowed", range(6))
def test_a_full_disk_leaves_every_finished_task_loadable(
    saved: Path, tmp_path: Path, allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes `allowed` more files while the tasks are saved one by one, then is full."""
    model, folder, replace = load(saved), tmp_path / "new", os.replace
    written: list[str] = []

    def full(source: str, target: Path) -> None:
        if len(written) == allowed:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(Path(target).name)
        replace(source, target)

    model.header.write(folder)
    monkeypatch.setattr("os.replace", full)
    done = 0
    with pytest.raises(UserError, match="No space left on device"):
        for task in range(3):
            step = load(saved, tasks=task + 1)
            save_task(folder, step.learner, step.classes, task)
            done += 1
    monkeypatch.undo()
    assert Manifest.read(folder).tasks == done
    assert not list(folder.glob(".*"))
    _, learner, _ = load_learner(folder, lambda _: tiny_backbone(), strict=False)
    assert learner.num_tasks == done
    if done:
        assert_same(snapshot(learner), snapshot(load(saved, tasks=done).learner))
    save_task(folder, *_after(saved, done + 1), done)  # with room again the task is saved over what is left
    assert_same(snapshot(load(folder).learner), snapshot(load(saved, tasks=done + 1).learner))


def _after(saved: Path, tasks: int) -> tuple:
    model = load(saved, tasks=tasks)
    return model.learner, model.classes


def test_a_disk_that_fills_in_save_pretrained_leaves_no_folder_that_loads_as_less(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`save_pretrained`: "nothing half-written is left to load"."""
    model, replace, count = load(saved), os.replace, len(list(saved.glob("task-*"))) + 2
    for allowed in range(count):
        folder, written = tmp_path / str(allowed), []

        def full(source: str, target: Path, allowed: int = allowed, written: list = written) -> None:
            if len(written) == allowed:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(target)
            replace(source, target)

        monkeypatch.setattr("os.replace", full)
        try:
            model.save_pretrained(folder)
        except UserError as error:
            assert "No space left" in str(error)
            monkeypatch.undo()
            with pytest.raises(UserError):
                load(folder)
        else:
            monkeypatch.undo()
            assert load(folder).num_tasks == 3


def test_a_thousand_tasks_and_more_are_counted(tmp_path: Path) -> None:
    names = [task_json(task) for task in range(1001)]
    assert count_tasks(names, tmp_path) == 1001 and count_tasks(names[:-1], tmp_path) == 1000
