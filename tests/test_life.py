"""The life of a classifier beside its laws (`contracts/test_life_laws`): threads, names, accounts, earlier versions."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from contracts.cases import LEARNERS
from net import worlds
from saved_by_0_1.make import HERE, SIZES
from softtf import ContinualClassifier, TaskCallback, TrainConfig, UserError
from softtf.learners import BlockRidge, LinearHead
from softtf.training.task import TaskTraining
from support.state import fresh
from support.tiny import pictures, task_data, tiny_backbone


def learned(name: str = "block ridge", tasks: int = 3) -> ContinualClassifier:
    model = fresh(LEARNERS[name])
    for task in range(tasks):
        model.learn(task_data(task), f"month {task + 1}", progress=False)
    return model


def test_what_was_answered_before_a_change_keeps_its_labels() -> None:
    model, images = learned(), pictures(5)
    given = model.answer(images)
    named = model.named(given)
    model.keep([2, 0])
    assert model.named(given) == named
    assert [task for *_, task in model.named(model.answer(images))] == model.predict_task(images)


def test_a_change_is_refused_while_a_task_is_learned_and_others_are_answered_meanwhile() -> None:
    model, said = learned("linear head"), []
    before = model.predict(pictures(5))

    class Meanwhile(TaskCallback):
        def epoch(self, training: TaskTraining, report: object) -> None:
            for change in (lambda: model.remove_task(0), lambda: model.rename({"a": "z"})):
                with pytest.raises(UserError, match="another task is being learned") as error:
                    change()
                said.append(str(error.value))
            assert model.predict(pictures(5)) == before and len(model.describe().tasks) == 3

    model.learn((pictures(4), ["x", "y", "x", "y"]), progress=False, callbacks=[Meanwhile()])
    assert said and model.num_tasks == 4


def test_a_task_is_named_by_its_number_or_its_name() -> None:
    model = learned()
    wrong = {3: "tasks 0 to 2 were learned", -1: "no task -1", "month 9": "did you mean", 1.0: "must be an integer"}
    for task, words in wrong.items():
        with pytest.raises(UserError, match=words):
            model.remove_task(task)
    model.remove_task("month 2")
    model.rename(tasks={0: "same", 1: "same"})
    with pytest.raises(UserError, match="tasks 0, 1 are all called 'same'"):
        model.remove_task("same")
    with pytest.raises(UserError, match="named twice"):
        model.keep([0, 0])
    with pytest.raises(UserError, match="write labels="):
        model.forget("a")
    with pytest.raises(UserError, match="never learned"):
        model.forget([["a"]])


def test_names_change_and_no_tensor_does() -> None:
    model = learned()
    before, answers = model.describe(), model.predict_proba(pictures(5))
    model.rename({"a": 7.5, 1: "one"}, tasks={"month 1": "January"})
    assert model.classes.tasks[0] == (7.5, "one", ("t", 2)) and model.classes.names[0] == "January"
    assert torch.equal(model.predict_proba(pictures(5)), answers)
    assert [t.bytes for t in model.describe().tasks] == [t.bytes for t in before.tasks]
    with pytest.raises(UserError, match="would be called 'one'"):
        model.rename({7.5: "one"})
    with pytest.raises(UserError, match="never learned"):
        model.rename({"unknown": "x"})
    for unsaved in ([], object(), "\udc80"):
        with pytest.raises(UserError, match="cannot save the label"):
            model.rename({7.5: unsaved})


def test_a_learner_is_described_and_dates_change_no_hash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = learned()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    early = learned()
    found, other = model.describe(), early.describe()
    assert early.classes.records[0].learned == "1970-01-01T00:00:00Z" != model.classes.records[0].learned
    assert found.hash == other.hash and found.method == "block-ridge"
    assert [task.record.examples for task in found.tasks] == [(4, 4, 4), (4, 4), (4, 4, 4, 4)]
    assert found.tasks[0].classes == ("a", 1, ("t", 2)) and found.tasks[0].name == "month 1"
    model.save_pretrained(tmp_path / "saved")
    again = ContinualClassifier.from_pretrained(tmp_path / "saved", backbone=tiny_backbone(), device="cpu")
    assert again.describe() == found and model.diff(again) == []


def test_differences_are_told() -> None:
    one, other = learned(), learned(tasks=2)
    assert one.diff(other) == ["only the first has the task 'month 3' of 4 classes"]
    other.learn(task_data(2, seed=4), "month 3", progress=False)
    (told,) = one.diff(other)
    assert told.startswith("the task 'month 3' differs in ") and "share.gram" in told
    again = learned()
    again.keep([1, 0, 2])
    assert one.diff(again) == ["the tasks are in another order"]
    assert "learner" in one.diff(learned("linear head"))[0]


def test_all_that_comes_from_data_is_listed_with_whose_it_is() -> None:
    held = {(one.what, one.tasks): one for one in learned("Soft-TF, Feature ID").audit()}
    months = ("month 1", "month 2", "month 3")
    assert held["GeneralPrefix", months].how.startswith("parameters that these tasks trained")
    assert held["SoftMasks", ("month 2",)].bytes > 0
    assert "from the last task's on" in held["ExpertPrefix", months[:2]].how
    assert "none of which is kept" in held["sums of feature-id", ("month 3",)].how
    rehearsed = {one.what.split(" ")[0]: one for one in learned("DER++", 2).audit()}
    assert "exemplars" in rehearsed["memory"].how and rehearsed["memory"].tasks == months[:2]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> ContinualClassifier:
    vit = worlds.vit(tmp_path_factory.mktemp("models") / "vit", **SIZES)
    return ContinualClassifier.from_pretrained(HERE / "ranpac", backbone=str(vit), device="cpu")


def test_tasks_whose_sums_an_earlier_version_kept_as_one_go_or_stay_together(
    old: ContinualClassifier, tmp_path: Path
) -> None:
    images = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    model = ContinualClassifier.of(old.header, old.learner.face(), old.classes)
    answers = model.predict_proba(images)
    assert all(task.record.learned is None and task.record.examples is None for task in model.describe().tasks)
    for change in (lambda: model.remove_task(0), lambda: model.keep([1, 0]), lambda: model.forget(model.labels[:1])):
        with pytest.raises(UserError, match="are kept as one|kept in one") as error:
            change()
        assert "\n" not in str(error.value)
    model.learn((images, ["x", "y", "x", "y"]), "new", progress=False)
    model.save_pretrained(tmp_path / "again")
    again = ContinualClassifier.from_pretrained(
        tmp_path / "again", backbone=model.learner.network.backbone, device="cpu"
    )
    assert model.diff(again) == []
    again.remove_task("new")
    torch.testing.assert_close(again.predict_proba(images), answers, rtol=1e-3, atol=1e-5)
    model.keep(["new"])
    assert model.labels == ["x", "y"]


def test_a_change_that_fails_leaves_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    model = learned()
    before, answers = model.describe(), model.predict_proba(pictures(5))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("softtf.learners.block_ridge.BlockRidgeLearner.set_heads", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.remove_task(0)
    monkeypatch.undo()
    assert model.describe() == before and torch.equal(model.predict_proba(pictures(5)), answers)
    model.remove_task(0)


def test_an_empty_learner_starts_again() -> None:
    model = learned(tasks=1)
    model.remove_task(0)
    assert model.num_tasks == 0 and model.describe().tasks == ()
    with pytest.raises(UserError, match="nothing was learned yet"):
        model.predict(pictures(1))
    model.learn(task_data(0), "month 1", progress=False)
    assert model.diff(learned(tasks=1)) == []


def test_a_merged_learner_of_other_settings_is_refused() -> None:
    one = ContinualClassifier(tiny_backbone(), LinearHead(), TrainConfig(epochs=1), device="cpu", seed=1)
    with pytest.raises(UserError, match="another seed"):
        one.merge(ContinualClassifier(tiny_backbone(), LinearHead(), device="cpu", seed=2))
    with pytest.raises(UserError, match="method cannot be merged .learner.kind: linear-head and block-ridge.; learn"):
        one.merge(ContinualClassifier(tiny_backbone(), BlockRidge(), device="cpu", seed=1))
    two, other = (ContinualClassifier(tiny_backbone(), BlockRidge(size), device="cpu") for size in (20, 30))
    with pytest.raises(UserError, match="learner.projection: 20 and 30"):
        two.merge(other)


def test_learners_that_answer_by_other_policies_differ() -> None:
    model = learned(tasks=2)
    other = ContinualClassifier.of(replace(model.header, inference="oracle"), model.learner, model.classes)
    assert model.diff(other) == ["inference: none and oracle"]


def test_a_classifier_says_what_it_is() -> None:
    model = learned(tasks=2)
    assert repr(model) == "ContinualClassifier(block-ridge on tiny: 2 tasks, 5 classes; answers by none)"
    lines = model.summary().splitlines()
    assert lines[0].startswith("block-ridge on tiny") and lines[0].endswith("2 tasks, 5 classes")
    assert lines[1] == "1. month 1: a, 1, ('t', 2)" and len(lines) == 6


def test_the_path_of_a_folder_stands_for_its_images(tmp_path: Path) -> None:
    model, files = learned(tasks=1), []
    for name in ("b.png", "a/2.png", "a/1.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures(1, len(files))[0].numpy()).save(tmp_path / "photos" / name)
        files.append(tmp_path / "photos" / name)
    (tmp_path / "photos" / "note.txt").write_text("no image")
    for folder in (tmp_path / "photos", str(tmp_path / "photos")):
        assert torch.equal(model.predict_proba(folder), model.predict_proba(sorted(files)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no image in folder"):
        model.predict(tmp_path / "empty")
