"""Law 9, continued: whom a task's parameters come from is known whatever becomes of the tasks, and traces are told."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch

from contracts.cases import LEARNERS
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.saving.manifest import seal, task_json
from support.folders import change, fit_manifest, load, read
from support.slow import each
from support.tiny import empty, pictures, task_data, tiny_backbone, trained

NAMES = ("task 1", "task 2", "task 3")
E_PROMPTS = {name: LEARNERS[name].spec for name in ("Soft-TF, no G", "Soft-TF, G frozen")}
FIELDS = ("key", "place", "shaped_by", "gone")


def learner(name: str, tasks: int = 3) -> ContinualClassifier:
    return trained(LEARNERS[name].spec, tasks)


def refused(model: ContinualClassifier) -> set[str]:
    """The tasks that cannot be removed without a trace."""
    found = set()
    for name in model.classes.names:
        try:
            before = model.knowledge.finished
            model.remove_task(name)
            model.knowledge.put(lambda before=before: (before, None))  # type: ignore[misc]
        except UserError as error:
            assert "also shaped" in str(error) and "\n" not in str(error)
            found.add(name)
    return found


def told(model: ContinualClassifier) -> list[str]:
    return [held.how for held in model.audit() if held.what == "trace of what was removed"]


@each("name", {name: name for name in E_PROMPTS}, ("Soft-TF, no G",))
def test_whatever_their_order_the_same_tasks_leave_traces(name: str) -> None:
    assert refused(learner(name)) == {"task 1", "task 2"}
    for order in permutations(NAMES):
        model = learner(name)
        model.keep(order)
        assert refused(model) == {"task 1", "task 2"}, order
        prefixes = {held.tasks for held in model.audit() if held.what == "ExpertPrefix"}
        assert prefixes == {NAMES[:1], NAMES[:2], NAMES}


def test_merged_tasks_do_not_come_from_the_others() -> None:
    mine = learner("Soft-TF, no G", 2)
    its = empty(mine.header.learner, inference=mine.header.inference)
    its.learn(task_data(2), "task 3", progress=False)
    mine.merge(its)
    assert ("task 3",) in {held.tasks for held in mine.audit() if held.what == "ExpertPrefix"}
    assert mine.remove_task("task 2") == []
    mine.learn(task_data(1), "task 4", progress=False)
    with pytest.raises(UserError, match="ExpertPrefix of task 'task 4', which started"):
        mine.remove_task("task 3")


def test_a_removed_task_is_named_as_long_as_anything_holds_something_of_it(tmp_path: Path) -> None:
    model = learner("Soft-TF")
    model.rename(tasks={"task 2": "February"})
    left = model.remove_task("February", leave_traces=True)
    lines = [f"task 'February' (removed): {words}" for words in left]
    assert len(lines) == 2 and told(model) == lines
    assert ("task 1", "task 2 (removed)", "task 3") in {held.tasks for held in model.audit()}
    assert f"left of what was removed: {'; '.join(lines)}" in model.summary() and "'February' (removed)" in model.card()
    model.save_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.audit() == model.audit() and again.describe() == model.describe()
    again.learn(task_data(1), "more", progress=False)
    again.keep(["more"], leave_traces=True)
    assert told(again)[:2] == lines and any("'task 3' (removed)" in line for line in told(again))


def test_records_change_no_hash(tmp_path: Path) -> None:
    model = learner("Soft-TF")
    model.remove_task(0, leave_traces=True)
    before, card = model.describe(), model.card()
    records = model.knowledge.finished.classes.records
    records[:] = [replace(record, key="0" * 16, place=7, shaped_by=(), gone=()) for record in records]
    assert model.describe().hash == before.hash and before.gone and not model.describe().gone
    assert "of what was removed" in card and "of what was removed" not in model.card()


def test_nothing_is_told_of_what_left_nothing() -> None:
    for name in ("block ridge", "linear head"):
        model = learner(name)
        assert model.remove_task(1) == [] and not told(model) and "removed" not in model.summary() + model.card()


def test_a_forgotten_class_is_named_while_its_task_is_there() -> None:
    model = learner("block ridge")
    label = model.labels[1]
    left = model.forget([label], leave_traces=True)
    assert told(model) == [f"{label!r} of task 'task 1' (forgotten): {words}" for words in left]
    model.learn((pictures(4), ["x", "y"] * 2), "more", progress=False)
    model.remove_task("task 1")
    assert not told(model)


def test_what_the_first_task_chose_for_all_is_told_of_later_ones_too() -> None:
    model = learner("KLDA", 2)
    model.remove_task(0)
    model.learn(task_data(2), "task 3", progress=False)
    model.keep(["task 3"])
    assert any(line.startswith("task 'task 1' (removed): gamma") for line in told(model))


def test_a_task_that_learns_more_comes_from_the_same_tasks() -> None:
    model = learner("Soft-TF, no G")
    before = model.classes.records[1]
    model.extend("task 2", task_data(1, seed=5), progress=False)
    after = model.classes.records[1]
    assert (after.key, after.place, after.shaped_by) == (before.key, before.place, before.shaped_by)
    assert refused(model) == {"task 1", "task 2"}


def taught(*names: str) -> ContinualClassifier:
    """A learner of small tasks of these names, whose classes are called after them."""
    model = learner("block ridge", 0)
    for name in names:
        more(model, name)
    return model


def more(model: ContinualClassifier, name: str) -> None:
    model.learn((pictures(4, ord(name)), [f"{name}1", f"{name}2"] * 2), name, progress=False)


def reordered(*names: str) -> ContinualClassifier:
    model = taught(*names)
    model.keep(names[::-1])
    return model


def merged(mine: str, its: str, later: str = "") -> ContinualClassifier:
    model = taught(*mine)
    model.merge(taught(*its))
    for name in later:
        more(model, name)
    return model


GONE: dict[str, tuple[Callable[[], ContinualClassifier], Callable[[], ContinualClassifier]]] = {
    "the first": (lambda: taught(*"xab"), lambda: taught(*"ab")),
    "a middle one": (lambda: taught(*"axb"), lambda: taught(*"ab")),
    "of reordered": (lambda: reordered(*"axb"), lambda: reordered(*"ab")),
    "of the first of two": (lambda: merged("axb", "c"), lambda: merged("ab", "c")),
    "of the second of two": (lambda: merged("a", "bxc"), lambda: merged("a", "bc")),
    "of two that learned more": (lambda: merged("ax", "b", "cd"), lambda: merged("a", "b", "cd")),
    "all of the second": (lambda: merged("ab", "x", "c"), lambda: taught(*"abc")),
    "what was learned since": (lambda: merged("a", "b", "xc"), lambda: merged("a", "b", "c")),
}


@pytest.mark.parametrize("kind", GONE)
def test_what_is_gone_without_traces_leaves_the_files_of_the_learner_that_never_saw_it(
    kind: str, tmp_path: Path
) -> None:
    """Byte for byte, and so does the next task, which counts the places."""
    model, never = (make() for make in GONE[kind])
    if kind == "a middle one":
        model.forget(["x1", "x2"])
    else:
        model.remove_task("x")
    files = []
    for place, one in enumerate((model, never)):
        more(one, "z")
        one.save_pretrained(tmp_path / str(place))
        files.append({path.name: path.read_bytes() for path in (tmp_path / str(place)).iterdir()})
    assert files[0] == files[1]


def test_a_class_that_is_gone_without_traces_leaves_the_learner_that_never_saw_it() -> None:
    """But for the temperature that the other classes fitted. Also the task's key is made of its classes."""
    model, never = learner("NCM", 0), learner("NCM", 0)
    images, labels = pictures(6, 1), ["a", "x", "b"] * 2
    model.learn((images, labels), "task 1", progress=False)
    kept = [i for i, label in enumerate(labels) if label != "x"]
    never.learn((images[kept], [labels[i] for i in kept]), "task 1", progress=False)
    assert model.forget(["x"]) == []
    assert model.classes.records == never.classes.records and not any(model.learner.memory["temperatures"])
    assert torch.equal(model.learner.memory["sums"], never.learner.memory["sums"])
    assert model.predict(pictures(5, 2)) == never.predict(pictures(5, 2))


def test_a_class_that_is_forgotten_with_traces_leaves_its_task_an_ancestor() -> None:
    model = learner("Soft-TF, no G")
    before = [record.key for record in model.classes.records]
    model.forget([model.classes.tasks[1][0]], leave_traces=True)
    after = [record.key for record in model.classes.records]
    assert (before[0], before[2]) == (after[0], after[2]) and before[1] != after[1]
    assert refused(model) == {"task 1", "task 2"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("descent") / "saved"
    learner("Soft-TF, no G").save_pretrained(folder)
    return folder


def copied(saved: Path, folder: Path) -> Path:
    load(saved).save_pretrained(folder)
    return folder


def test_a_learner_of_an_earlier_version_loads_and_goes_by_the_order_of_its_tasks(saved: Path, tmp_path: Path) -> None:
    folder, model = copied(saved, tmp_path / "old"), load(saved)
    for task in range(3):
        path = folder / task_json(task)
        path.write_text(seal({name: value for name, value in read(path).items() if name not in FIELDS}))
    fit_manifest(folder)
    old = load(folder)
    assert old.classes.records == model.classes.records and [len(r.shaped_by) for r in old.classes.records] == [0, 1, 1]
    old.keep(["task 3", "task 2", "task 1"])
    assert refused(old) == {"task 1", "task 2"}


WRONG = {
    "key of another form": {"key": "0" * 15},
    "key that is none": {"key": 3},
    "place below 0": {"place": -1},
    "ancestor without a name": {"shaped_by": [["0" * 16]]},
    "ancestor of another form": {"shaped_by": [["x", "task 1"]]},
    "ancestors that are none": {"shaped_by": "task 1"},
    "lines that are none": {"gone": [1]},
    "a line without end": {"gone": ["x" * 1001]},
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_task_file_with_wrong_descent_is_refused_in_one_line(kind: str, saved: Path, tmp_path: Path) -> None:
    folder = copied(saved, tmp_path / "wrong")
    change(folder / "task-003.json", **WRONG[kind])
    with pytest.raises(UserError, match="what its parameters come from is wrong") as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_a_learner_with_repeated_classes_does_not_differ_from_itself() -> None:
    def of(seeds: list[int]) -> ContinualClassifier:
        model = ContinualClassifier(
            tiny_backbone(), LEARNERS["block ridge"].spec, device="cpu", repeated_classes="allow"
        )
        for seed in seeds:
            model.learn(task_data(0, seed=seed), f"part {seed}", progress=False)
        return model

    model = of([0, 1])
    assert model.diff(model) == [] == model.diff(of([0, 1]))
    assert model.diff(of([1, 0])) == ["the tasks are in another order"]
    assert model.diff(of([0])) == ["only the first has the task 'part 1' of 3 classes"]
    assert of([0]).diff(model) == ["only the second has the task 'part 1' of 3 classes"]
    assert model.diff(of([0, 2]))[0].startswith("the task 'part 1' differs in its name, 'part 2'")
    model.rename(tasks={0: "same", 1: "same"})
    assert model.diff(model) == []
