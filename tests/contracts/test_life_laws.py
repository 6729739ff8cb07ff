"""Law 9: removing a task's part gives the learner that never saw it; merging two gives the one that saw both.

Where a method's maths does not allow that, the operation is refused in one line, and leaves the learner as it was.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from contracts.cases import LEARNERS, LearnerCase
from softtf.adaptations import SoftMask
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import NCM, DualPrompt, LearnerSpec, LinearHead
from softtf.streams import Examples
from support.slow import each
from support.tiny import TRAIN, assert_same, backbone_for, pictures, snapshot, task_data, training_of
from support.tiny_bert import text_task, texts, tiny_bert

MASKS = DualPrompt(g_layers="none", e_layers="none", adapt=SoftMask((3, 4), "w/ FF", "uniform(0.5,1.5)"))
APART = {
    "block ridge": LEARNERS["block ridge"],
    "NCM": LEARNERS["NCM"],
    "RanPAC": LEARNERS["RanPAC"],
    "Fly-CL": LEARNERS["Fly-CL"],
    "KLDA": LearnerCase(replace(LEARNERS["KLDA"].spec, gamma=0.01)),
    "LayUP": LEARNERS["LayUP"],
    "linear head": LEARNERS["linear head"],
    "linear head, MCG": LEARNERS["linear head, MCG"],
    "masks only": LearnerCase(MASKS),
    "masks, Feature ID": LearnerCase(replace(MASKS, feature_id=24)),
    "CLIP zero-shot": LEARNERS["CLIP zero-shot"],
    "texts, block ridge": replace(LEARNERS["block ridge"], texts=True),
    "texts, masks": LearnerCase(replace(MASKS, feature_id=24), texts=True),
}
"""Methods all of whose parameters and sums are a task's own."""
QUICK = ("block ridge", "NCM", "RanPAC", "KLDA", "linear head, MCG", "masks, Feature ID", "texts, block ridge")
TIED = {
    "G-prompt": (LEARNERS["Soft-TF"], "GeneralPrefix, which it trained and all tasks share"),
    "E-prompt": (LEARNERS["Soft-TF, no G"], "ExpertPrefix of task 'task 3', which started from its own"),
    "G frozen": (LEARNERS["Soft-TF, G frozen"], "ExpertPrefix of task 'task 3'"),
    "pool": (LEARNERS["L2P"], "PromptPool, which it trained"),
    "whole network": (LEARNERS["FT"], "FineTunedWeights, which it trained"),
    "all classes": (LEARNERS["Soft-TF, all classes"], "classifier, which it trained"),
}
WHOLE = {name: LEARNERS[name] for name in ("DER++", "iCaRL", "MBPA++", "DER + MCG", "EWC", "SLM", "L2P, PGP")}
apart = each("case", APART, QUICK)


def data(case: LearnerCase, task: int, seed: int = 0) -> Examples:
    return text_task(task, 4) if case.texts else task_data(task, seed=seed)


def inputs(case: LearnerCase) -> Any:
    return list(texts(5, 7)) if case.texts else pictures(5, 7)


def learned(case: LearnerCase, tasks: list[int], seeds: dict[int, int] | None = None) -> ContinualClassifier:
    backbone = tiny_bert() if case.texts else backbone_for(case.spec)
    model = ContinualClassifier(backbone, case.spec, training_of(case.spec, TRAIN), device="cpu", seed=3)
    for task in tasks:
        model.learn(data(case, task, (seeds or {}).get(task, 0)), f"task {task + 1}", progress=False)
    return model


def everything(model: ContinualClassifier, fitted: bool = True) -> dict[str, Tensor]:
    """Every tensor; without `fitted`, but for the few numbers that a task fits among the classes known then."""
    found = snapshot(model.learner)
    found |= {f"{t}/{n}": v for t in range(model.num_tasks) for n, v in model.learner.shares.tensors(t).items()}
    few = ("temperature", "temperatures", "sharpness", "ridges")
    return {n: v for n, v in found.items() if fitted or n.split(".")[-1] not in few}


def same(model: ContinualClassifier, other: ContinualClassifier, case: LearnerCase, fitted: bool = True) -> None:
    assert (model.labels, model.classes.tasks, model.classes.names) == (
        other.labels, other.classes.tasks, other.classes.names,
    )  # fmt: skip
    if not fitted and model.header.learner.kind in ("ranpac", "layup"):  # whose heads are divided by the temperature
        assert model.header.learner.kind == "layup" or model.predict(inputs(case)) == other.predict(inputs(case))
        return
    assert_same(everything(model, fitted), everything(other, fitted))
    if fitted:
        assert torch.equal(model.predict_proba(inputs(case)), other.predict_proba(inputs(case)))


# --- Taking out ----------------------------------------------------------------------------------------------------


@apart
def test_without_its_last_task_a_learner_is_the_one_that_never_saw_it(case: LearnerCase) -> None:
    """To the bit, and it goes on alike."""
    model, never = learned(case, [0, 1, 2]), learned(case, [0, 1])
    assert model.remove_task(2) == []
    same(model, never, case)
    for one in (model, never):
        one.learn(data(case, 2), "again", progress=False)
    same(model, never, case)


EMPTIED = {name: case for name, (case, _) in TIED.items()} | {n: LEARNERS[n] for n in ("block ridge", "KLDA")}


@each("case", EMPTIED, ("G-prompt", "KLDA"))
def test_without_any_task_a_learner_is_a_new_one(case: LearnerCase) -> None:
    """Also what all tasks share; and what it learns then holds nothing of what is gone."""
    model = learned(case, [0, 1])
    assert model.keep([]) == [] == model.audit()
    model.learn(data(case, 2), "task 3", progress=False)
    same(model, learned(case, [2]), case)
    assert not model.describe().gone and model.classes.records[0].shaped_by == ()


@apart
@pytest.mark.parametrize("task", [0, 1])
def test_nothing_of_a_task_that_is_taken_out_is_left(case: LearnerCase, task: int) -> None:
    """Learners that differ in its data alone are the same without it."""
    one, other = learned(case, [0, 1, 2]), learned(case, [0, 1, 2], {task: 5})
    names = ["task 1", "task 2", "task 3"]
    kept = [{n: v.clone() for n, v in part_tensors(one, t).items()} for t in range(3) if t != task]
    fitted = [model.remove_task(names[task]) for model in (one, other)]
    assert [part_tensors(one, t) for t in range(2)] == list(map(Same, kept))
    same(one, other, case, fitted=not fitted[0])


class Same:
    """Equal to tensors that are the same bit for bit."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, dict)
        return other.keys() == self.tensors.keys() and all(torch.equal(other[n], v) for n, v in self.tensors.items())

    __hash__ = None  # type: ignore[assignment]


def part_tensors(model: ContinualClassifier, task: int) -> dict[str, Tensor]:
    """A task's own tensors: those that later tasks do not set anew."""
    slots = {name for name, module in model.learner.slot_modules().items() if not module.retrained}
    state = {n: v for n, v in model.learner.task_state_dict(task).items() if n.split(".")[0] in slots}
    return state | model.learner.shares.tensors(task)


SOLVED = {n: c for n, c in APART.items() if n in ("block ridge", "NCM", "RanPAC", "Fly-CL", "KLDA", "LayUP")}


@pytest.mark.slow
@each("case", SOLVED, ("block ridge", "RanPAC"))
def test_a_solved_learner_without_any_of_its_tasks_never_saw_it(case: LearnerCase) -> None:
    for gone in ([0], [1], [0, 1], [0, 1, 2]):
        model, never = learned(case, [0, 1, 2]), learned(case, [t for t in range(3) if t not in gone])
        fitted = model.keep([t for t in range(3) if t not in gone])
        if model.num_tasks:
            same(model, never, case, fitted=not fitted)
        else:
            assert not model.learner.memory and not model.labels


@pytest.mark.slow
@pytest.mark.parametrize("name", TIED)
def test_what_others_have_of_a_task_is_told_and_left_only_if_wanted(name: str) -> None:
    case, words = TIED[name]
    model = learned(case, [0, 1, 2])
    before = everything(model)
    with pytest.raises(UserError, match=words) as error:
        model.remove_task(1)
    assert "\n" not in str(error.value) and "leave_traces" in str(error.value)
    assert_same(everything(model), before)
    kept = part_tensors(model, 2)
    assert any(words in left for left in model.remove_task(1, leave_traces=True))
    assert model.classes.names == ["task 1", "task 3"] and part_tensors(model, 1) == Same(kept)
    assert set(model.predict(pictures(9))) <= set(model.labels)
    model.learn(data(case, 1), progress=False)


@pytest.mark.slow
def test_the_last_task_can_go_where_only_later_ones_start_from_it() -> None:
    for name in ("Soft-TF, no G", "Progressive Prompts"):
        case = LEARNERS[name]
        model, never = learned(case, [0, 1, 2]), learned(case, [0, 1])
        model.remove_task(2)
        same(model, never, case)


def test_prompts_that_later_tasks_read_cannot_go() -> None:
    model = learned(LEARNERS["Progressive Prompts"], [0, 1, 2])
    with pytest.raises(UserError, match="the tasks after 'task 1' read its ProgressivePrompt"):
        model.remove_task(0, leave_traces=True)
    with pytest.raises(UserError, match="it must stay in its place"):
        model.keep([1, 0, 2])


def test_the_first_task_stays_where_all_networks_are_its() -> None:
    model = learned(LEARNERS["RanPAC, adapted"], [0, 1, 2])
    with pytest.raises(UserError, match="the tasks after 'task 1' read its "):
        model.remove_task(0)
    model.remove_task(2)
    same(model, learned(LEARNERS["RanPAC, adapted"], [0, 1]), LEARNERS["RanPAC, adapted"])


@each("case", WHOLE, ("DER++", "SLM"))
def test_a_memory_of_all_tasks_in_one_is_refused_in_one_line(case: LearnerCase) -> None:
    model = learned(case, [0, 1])
    before = everything(model)
    for change in (lambda: model.remove_task(0, leave_traces=True), lambda: model.forget(["a"], leave_traces=True)):
        with pytest.raises(UserError, match=r"remembers all tasks in one .*learn the tasks .* again") as error:
            change()
        assert "\n" not in str(error.value)
    assert_same(everything(model), before)


@pytest.mark.slow
def test_offsets_lose_the_row_and_the_column_of_a_task() -> None:
    model = learned(LEARNERS["Soft-TF, offsets"], [0, 1, 2])
    means = model.learner.gathered["gradient-id-offset"]["means"]
    model.remove_task(1, leave_traces=True)
    assert torch.equal(model.learner.gathered["gradient-id-offset"]["means"], means[[0, 2]][:, [0, 2]])
    model.predict(pictures(3), inference="gradient-id-offset")


# --- Classes ---------------------------------------------------------------------------------------------------------


def test_a_class_of_sums_kept_by_class_goes_without_a_trace() -> None:
    spec = LEARNERS["NCM"].spec

    def of(seed: int) -> dict[str, Tensor]:
        model = ContinualClassifier(backbone_for(spec), spec, device="cpu")
        first, second = task_data(0), task_data(0, seed=seed)
        rows = [second[i] if label == 1 else first[i] for i, label in enumerate(first.labels)]
        model.learn(Examples(rows, first.labels, "one"), "one", progress=False)
        assert model.forget([1]) == []
        assert model.labels == ["a", ("t", 2)] and set(model.predict(pictures(9))) <= {"a", ("t", 2)}
        return everything(model, fitted=False)

    assert_same(of(0), of(5))


@each("case", APART, QUICK)
def test_a_class_goes_and_what_still_holds_something_of_it_is_told(case: LearnerCase, tmp_path: Path) -> None:
    model = learned(case, [0, 1])
    label, whole = model.labels[1], list(model.classes.tasks[1])
    columns = model.predict_proba(inputs(case)).shape[1]
    try:
        assert all("fitted" in words for words in model.forget([label]))
    except UserError as error:
        assert "also shaped" in str(error)
        assert model.forget([label], leave_traces=True)
    assert label not in model.labels and model.predict_proba(inputs(case)).shape == (5, columns - 1)
    assert set(model.predict(inputs(case))) <= set(model.labels)
    model.save_pretrained(tmp_path / "without")
    again = ContinualClassifier.from_pretrained(tmp_path / "without", backbone=model.learner.network.backbone)
    assert torch.equal(again.predict_proba(inputs(case)), model.predict_proba(inputs(case)))
    model.forget(whole, leave_traces=True)
    assert model.classes.names == ["task 1"]
    model.learn(data(case, 1), progress=False)


def test_a_ridge_without_a_class_still_answers_the_others_as_before() -> None:
    """The scatter of the class that is gone is taken to be that of the others."""
    case = LEARNERS["block ridge"]
    model, never = learned(case, [0, 1]), learned(case, [])
    for task in (0, 1):
        rows = [i for i, label in enumerate(task_data(task).labels) if label != "a"]
        examples = task_data(task)
        never.learn(Examples([examples[i] for i in rows], [examples.labels[i] for i in rows], "x"), progress=False)
    model.forget(["a"], leave_traces=True)
    some = [task_data(t)[i] for t in (0, 1) for i in range(len(task_data(t))) if task_data(t).labels[i] != "a"]
    found, expected = model.predict(some), never.predict(some)
    assert sum(a == b for a, b in zip(found, expected, strict=True)) >= 0.9 * len(some)


# --- Putting in ------------------------------------------------------------------------------------------------------


@apart
def test_learners_merged_are_the_one_that_has_both_parts(case: LearnerCase) -> None:
    """Sums: the learner that saw both. Parameters: those that each learned, as they are."""
    one, other = learned(case, [0, 1]), learned(case, [2])
    parts = [part_tensors(one, 0), part_tensors(one, 1), part_tensors(other, 0)]
    one.merge(other)
    assert [part_tensors(one, t) for t in range(3)] == list(map(Same, parts))
    assert one.classes.names == ["task 1", "task 2", "task 3"] and other.num_tasks == 1
    assert set(one.predict(inputs(case))) <= set(one.labels)
    more = Examples(list(inputs(case)), ["x", "y", "x", "y", "x"], "more")
    one.learn(more, progress=False)


@each("case", SOLVED, ("block ridge", "RanPAC"))
def test_solved_learners_merged_are_the_one_that_saw_both(case: LearnerCase) -> None:
    one, other, both = learned(case, [0, 1]), learned(case, [2]), learned(case, [0, 1, 2])
    one.merge(other)
    few = case.spec.kind in ("ncm", "ranpac", "layup")
    same(one, both, case, fitted=not few)


def test_sums_of_a_label_that_both_know_add_up() -> None:
    spec = LEARNERS["block ridge"].spec

    def of(parts: list[int]) -> ContinualClassifier:
        model = ContinualClassifier(backbone_for(spec), spec, device="cpu", seed=3, repeated_classes="allow")
        for part in parts:
            model.learn(task_data(0, seed=part), f"part {part}", progress=False)
        return model

    one, both = of([0]), of([0, 1])
    one.merge(of([1]))
    assert one.labels == both.labels == list(task_data(0).classes)
    assert_same(everything(one), everything(both))


@pytest.mark.slow
def test_a_part_that_both_have_is_there_once() -> None:
    case = LEARNERS["Soft-TF, G frozen"]
    base, one, other = (learned(case, [0]) for _ in range(3))
    one.learn(data(case, 1), "one", progress=False)
    other.learn(data(case, 2), "other", progress=False)
    one.merge(other)
    assert one.classes.names == ["task 1", "one", "other"] and part_tensors(one, 0) == Same(part_tensors(base, 0))
    assert part_tensors(one, 2) == Same(part_tensors(other, 1))


def merged(one: LearnerSpec, other: LearnerSpec, tasks: tuple[list[int], list[int]] = ([0], [1])) -> None:
    mine, its = (learned(LearnerCase(spec), own) for spec, own in zip((one, other), tasks, strict=True))
    mine.merge(its)


REFUSED: dict[str, tuple[LearnerSpec, LearnerSpec, str]] = {
    "prompts of all before": (*[LEARNERS["Progressive Prompts"].spec] * 2, "a task reads the ProgressivePrompt of all"),
    "another method": (LinearHead(), NCM(), "another method"),
    "a G-prompt": (*[LEARNERS["Soft-TF"].spec] * 2, "GeneralPrefix, and each learner trained"),
    "another gamma": (*[LEARNERS["KLDA"].spec] * 2, "differ in gamma"),
    "offsets": (*[LEARNERS["Soft-TF, offsets"].spec] * 2, "gradient-id-offset keep all tasks as one sum"),
    "exemplars": (*[LEARNERS["iCaRL"].spec] * 2, "FineTunedWeights.* and each learner trained"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_merged_is_refused_in_one_line(name: str) -> None:
    one, other, words = REFUSED[name]
    with pytest.raises(UserError, match=words) as error:
        merged(one, other)
    assert "\n" not in str(error.value)


def test_a_label_of_both_and_another_backbone_are_refused() -> None:
    with pytest.raises(UserError, match="learned already in an earlier task"):
        merged(LinearHead(), LinearHead(), ([0, 1], [1]))
    mine = learned(LearnerCase(LinearHead()), [0])
    with pytest.raises(UserError, match="another backbone"):
        mine.merge(ContinualClassifier(tiny_bert(), LinearHead(), device="cpu", seed=3))
