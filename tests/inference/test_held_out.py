"""The accuracy on a task's own test examples: kept with the task, until the task is another one."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import NCM, LearnerSpec
from softtf.training.loop import TaskCallback
from softtf.training.task import TaskTraining
from support.folders import change, load
from support.tiny import SOFT_TF, assert_same, held_out, pictures, snapshot, task_data, tiny_backbone, training_of


@pytest.fixture(scope="module", params=[NCM(), SOFT_TF], ids=["ncm", "soft-tf"])
def model(request: pytest.FixtureRequest) -> ContinualClassifier:
    """Three tasks, of which the second has no test examples."""
    return taught(request.param)


def empty(spec: LearnerSpec, **options: Any) -> ContinualClassifier:
    return ContinualClassifier(tiny_backbone(), spec, training_of(spec), device="cpu", **options)


def taught(spec: LearnerSpec, **options: Any) -> ContinualClassifier:
    model, tests = empty(spec, **options), held_out([0, 1, 2])
    for task in range(3):
        model.learn(task_data(task), test=None if task == 1 else tests[task], progress=False)
    return model


def test_it_is_the_share_that_predict_answered_right_at_that_time(model: ContinualClassifier) -> None:
    first, second, last = model.classes.records
    assert (second.accuracy, second.tested) == (None, None)
    test = held_out([2])[0]
    right = [answer == label for answer, label in zip(model.predict(test), test.labels, strict=True)]
    assert (last.accuracy, last.tested) == (pytest.approx(100 * sum(right) / len(right)), len(test))
    assert first.tested == len(held_out([0])[0])
    words = f"{last.accuracy:.1f} % of its {len(test)} test examples were right when it was learned"
    assert words in model.summary() and words in model.card()


def test_it_is_saved_and_no_answer_depends_on_it(model: ContinualClassifier, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "birds")
    assert load(tmp_path / "birds").classes.records == model.classes.records
    without = empty(model.header.learner)
    for task in range(3):
        without.learn(task_data(task), progress=False)
    assert_same(snapshot(without.learner), snapshot(model.learner))


def test_it_goes_when_the_task_becomes_another_one() -> None:
    model = taught(NCM())
    model.extend(0, task_data(0, seed=5), progress=False)
    assert model.classes.records[0].accuracy is None
    model.extend(0, task_data(0, seed=6), test=held_out([0])[0], progress=False)
    assert model.classes.records[0].tested == len(held_out([0])[0])
    model.forget([model.classes.tasks[0][0]])
    assert model.classes.records[0].accuracy is None and model.classes.records[2].accuracy is not None
    with pytest.raises(UserError, match="'strange' is no class of the task"):
        model.extend(0, task_data(0), test=([held_out([0])[0][0]], ["strange"]), progress=False)


def test_other_classes_are_refused_before_anything_is_learned() -> None:
    model = empty(NCM())
    with pytest.raises(UserError, match="test examples of January: .* is no class of the task; leave its examples out"):
        model.learn(task_data(0), "January", test=held_out([1])[0], progress=False)
    assert model.num_tasks == 0


@pytest.mark.parametrize("way", ["learn", "extend"])
def test_what_cannot_be_read_is_refused_before_anything_is_trained(way: str, tmp_path: Path) -> None:
    model, trained = taught(SOFT_TF), list[str]()
    before = snapshot(model.learner)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")

    class Watch(TaskCallback):
        def begun(self, training: TaskTraining) -> None:
            trained.append("begun")

    task, data = (0, task_data(0, seed=7)) if way == "extend" else (3, (list(pictures(4)), ["new"] * 4))
    label = "new" if way == "learn" else task_data(0).labels[0]
    for broken in (tmp_path / "broken.png", tmp_path / "missing.png"):
        given: Any = {"test": ([pictures(1)[0], broken], [label] * 2), "callbacks": [Watch()], "progress": False}
        with pytest.raises(UserError, match=broken.name):
            model.extend(task, data, **given) if way == "extend" else model.learn(data, **given)
    assert trained == [] and model.num_tasks == 3
    assert_same(snapshot(model.learner), before)


def test_a_task_stays_if_its_test_examples_go_while_it_is_trained(tmp_path: Path) -> None:
    model, picture = empty(NCM()), tmp_path / "held-out.png"
    Image.fromarray(pictures(1)[0].numpy()).save(picture)

    class Removed(TaskCallback):
        def begun(self, training: TaskTraining) -> None:
            picture.unlink()

    test = ([str(picture)], [task_data(0).labels[0]])
    with pytest.warns(UserWarning, match="January is learned, but its test examples were not answered: .*held-out"):
        model.learn(task_data(0), "January", test=test, callbacks=[Removed()], progress=False)
    assert model.num_tasks == 1 and model.classes.records[0].accuracy is None


def test_the_task_is_given_to_the_oracle() -> None:
    model = taught(SOFT_TF, inference="oracle")
    test = held_out([2])[0]
    right = [answer == label for answer, label in zip(model.predict(test, task=2), test.labels, strict=True)]
    assert model.classes.records[2].accuracy == pytest.approx(100 * sum(right) / len(right))


@pytest.mark.parametrize("wrong", [{"accuracy": 101.0}, {"accuracy": "good"}, {"tested": 0}, {"tested": None}])
def test_a_file_with_a_wrong_accuracy_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    taught(NCM()).save_pretrained(tmp_path / "birds")
    change(tmp_path / "birds/task-001.json", **wrong)
    with pytest.raises(UserError, match=r"task-001.json is not a task .*: its accuracy is wrong"):
        load(tmp_path / "birds")
