"""More examples of a task: its own part alone changes, and sums are those of a learner that saw them all at once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from contracts.cases import LEARNERS, LearnerCase
from contracts.test_life_laws import APART, MASKS, SOLVED, Same, data, everything, inputs, learned, part_tensors
from softtf.adaptations import AdaptationSpec, BinaryMask, LoRA, SoftNet
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import CLIPPrompt
from softtf.streams import Examples
from softtf.training.loop import TaskCallback
from softtf.training.task import TaskTraining
from support.slow import each
from support.state import state_of
from support.tiny import backbone_for, pictures


def adapted(adapt: AdaptationSpec) -> LearnerCase:
    return LearnerCase(replace(MASKS, adapt=adapt))


CHANGED = {
    "linear head, MCG": LEARNERS["linear head, MCG"],
    "masks, Feature ID": APART["masks, Feature ID"],
    "texts, masks": APART["texts, masks"],
    "Soft-TF": LEARNERS["Soft-TF"],
    "Soft-TF, all classes": LEARNERS["Soft-TF, all classes"],
    "SoftNet": adapted(SoftNet((3, 4))),
    "LoRA": adapted(LoRA((3, 4), 3)),
}
QUICK = ("linear head, MCG", "block ridge", "NCM")
EVERY = SOLVED | CHANGED


def halves(case: LearnerCase, task: int) -> tuple[Examples, Examples]:
    """Every second example of a task, and the others."""
    whole = data(case, task)
    return whole.select(range(0, len(whole), 2)), whole.select(range(1, len(whole), 2))


def half_learned(case: LearnerCase, task: int) -> tuple[ContinualClassifier, Examples]:
    """A learner of three tasks, of which one has seen every second example, and the others of these."""
    model = learned(case, [])
    first, rest = halves(case, task)
    for t in range(3):
        model.learn(first if t == task else data(case, t), f"task {t + 1}", progress=False)
    return model, rest


@each("case", EVERY, QUICK)
def test_what_other_tasks_own_stays_the_same_bytes(case: LearnerCase, tmp_path: Path) -> None:
    """The task keeps its place, name, columns and what it knew; the learner can be saved."""
    model, rest = half_learned(case, 1)
    others = [part_tensors(model, t) for t in (0, 2)]
    before, own = model.describe(), {n: v.clone() for n, v in part_tensors(model, 1).items()}
    reports = model.extend("task 2", rest, progress=False)
    after = model.describe()
    assert reports and [part_tensors(model, t) for t in (0, 2)] == list(map(Same, others))
    assert part_tensors(model, 1) != Same(own) and own.keys() == part_tensors(model, 1).keys()
    assert [(t.name, t.classes) for t in after.tasks] == [(t.name, t.classes) for t in before.tasks]
    assert after.tasks[1].record.examples == (4, 4) and after.tasks[0] == before.tasks[0]
    model.save_pretrained(tmp_path / "saved")
    again = ContinualClassifier.from_pretrained(tmp_path / "saved", backbone=model.learner.network.backbone)
    assert torch.equal(again.predict_proba(inputs(case)), model.predict_proba(inputs(case)))
    assert not model.classes.allow_repeated
    model.learn(Examples(list(inputs(case)), ["x", "y", "x", "y", "x"], "more"), progress=False)


@each("case", SOLVED, ("block ridge", "RanPAC", "NCM"))
def test_a_solved_task_extended_is_the_one_that_saw_all_at_once(case: LearnerCase) -> None:
    """With whole-number sums to the bit, and with others as nearly as float32 keeps them."""
    for task in (0, 2):
        model, rest = half_learned(case, task)
        one, more = rest.select(range(0, len(rest), 2)), rest.select(range(1, len(rest), 2))
        model.extend(task, one, progress=False)
        model.extend(task, more, progress=False)
        whole = learned(case, [0, 1, 2])
        if case.spec.kind == "block-ridge":
            assert model.diff(whole) == []
            assert {n: Same({n: v}) for n, v in everything(whole).items()} == {
                n: {n: v} for n, v in everything(model).items()
            }
        for t in range(3):
            mine, its = model.learner.shares.tensors(t), whole.learner.shares.tensors(t)
            for name in (n for n in its if n.endswith(("gram", "sums", "examples", "counts")) and "held_" not in n):
                torch.testing.assert_close(mine[name], its[name], rtol=1e-5, atol=1e-5)


def test_examples_of_some_classes_are_enough_for_sums() -> None:
    case = LEARNERS["block ridge, Feature ID"]
    model, whole = learned(case, []), learned(case, [])
    examples = data(case, 0)
    first = [i for i, label in enumerate(examples.labels) if label != 1 or i % 2]
    rest = [i for i in range(len(examples)) if i not in first]
    model.learn(examples.select(first), "one", progress=False)
    model.extend(0, examples.select(rest), progress=False)
    whole.learn(examples, "one", progress=False)
    assert model.describe().tasks[0].record.examples == (4, 4, 4)
    mine, its = model.learner.shares.tensors(0), whole.learner.shares.tensors(0)
    own = [name for name in its if "feature-id" not in name]
    assert {n: mine[n] for n in own} == Same({n: its[n] for n in own})
    assert torch.equal(model.learner.memory["counts"], whole.learner.memory["counts"])


@pytest.mark.slow
def test_training_goes_on_from_the_tasks_own_parameters() -> None:
    """Without a step the part is the same, but for rounding; a task learned anew would be another."""

    class Still(TaskCallback):
        def begun(self, training: TaskTraining) -> None:
            training.epoch = training.epochs

    case = adapted(LoRA((3, 4), 3))
    model = learned(case, [0, 1])
    own = part_tensors(model, 0)
    model.extend(0, data(case, 0), progress=False, callbacks=[Still()])
    for name in (name for name in own if not name.startswith("share.")):
        value = part_tensors(model, 0)[name]
        most = 1 if value.dtype == torch.int8 else 1e-6
        assert (value.double() - own[name].double()).abs().max() <= most, name


BLOCK = LEARNERS["block ridge"].spec
REFUSED: dict[str, tuple[str | LearnerCase, int, Callable[[LearnerCase], Examples], str]] = {
    "another class": ("block ridge", 0, lambda case: data(case, 1), "'b' is no class of task 'task 1', which has 'a'"),
    "a class is missing": (
        "linear head", 0, lambda case: data(case, 0).select([0, 1]), "no examples of 1, which further training"
    ),
    "bits": (adapted(BinaryMask((3, 4))), 0, lambda case: data(case, 0), "keeps no"),
    "texts": (LearnerCase(CLIPPrompt(2, 3)), 0, lambda case: data(case, 0), "keeps no prompts of its TextHeads"),
    "exemplars": ("DER++", 0, lambda case: data(case, 0), "remembers all tasks in one"),
    "read by others": ("Progressive Prompts", 0, lambda case: data(case, 0), "the tasks after 'task 1' read its"),
    "no such task": ("block ridge", 7, lambda case: data(case, 0), "tasks 0 to 2 were learned"),
}  # fmt: skip


@each("refused", REFUSED, ("another class", "a class is missing", "read by others", "no such task"))
def test_a_refusal_is_one_line_and_changes_nothing(
    refused: tuple[str | LearnerCase, int, Callable[[LearnerCase], Examples], str],
) -> None:
    method, task, examples, words = refused
    case = method if isinstance(method, LearnerCase) else LEARNERS[method]
    model = learned(case, [0, 1, 2])
    before = state_of(model, case)
    with pytest.raises(UserError, match=words) as error:
        model.extend(task, examples(case), progress=False)
    assert "\n" not in str(error.value) and state_of(model, case) == before


@each("case", {n: EVERY[n] for n in ("block ridge", "NCM", "linear head, MCG", "Soft-TF")}, ("NCM", "linear head, MCG"))
def test_an_extension_that_fails_leaves_the_learner_as_it_was(case: LearnerCase) -> None:
    class Stops(TaskCallback):
        def epoch(self, training: TaskTraining, report: object) -> None:
            raise KeyboardInterrupt

        def ended(self, seconds: float, kept: float) -> None:
            raise KeyboardInterrupt

    model, rest = half_learned(case, 1)
    before = state_of(model, case)
    with pytest.raises(KeyboardInterrupt):
        model.extend(1, rest, progress=False, callbacks=[Stops()])
    assert state_of(model, case) == before
    model.extend(1, rest, progress=False)


@pytest.mark.slow
def test_the_last_prompts_and_the_only_task_can_go_on() -> None:
    case = LEARNERS["Progressive Prompts"]
    model, rest = half_learned(case, 2)
    model.extend(2, rest, progress=False)
    for name in ("Soft-TF, G frozen", "RanPAC, adapted"):
        only = learned(LEARNERS[name], [0])
        only.extend(0, data(LEARNERS[name], 0, 5), progress=False)
        assert only.describe().tasks[0].record.examples == (8, 8, 8)


def test_a_blurry_stream_is_the_same_however_it_is_cut() -> None:
    """Classes come back in later tasks, mixed with new ones; the default knows the sums of all that it saw."""
    whole = Examples.concatenate([data(LEARNERS["block ridge"], task) for task in range(3)])

    def learned_in(parts: list[range]) -> ContinualClassifier:
        model = ContinualClassifier(
            backbone_for(BLOCK), BLOCK, device="cpu", seed=3, repeated_classes="allow"
        )  # fmt: skip
        for part in parts:
            model.learn(whole.select(part), progress=False)
        return model

    size = len(whole)
    once, thrice = learned_in([range(size)]), learned_in([range(i, size, 3) for i in range(3)])
    assert thrice.num_tasks == 3 and set(thrice.labels) == set(once.labels) == set(whole.classes)
    assert all(len(classes) > 4 for classes in thrice.classes.tasks)
    order = [thrice.labels.index(label) for label in once.labels]
    answers = thrice.predict_proba(pictures(7))[:, order]
    torch.testing.assert_close(answers, once.predict_proba(pictures(7)), rtol=1e-4, atol=1e-6)
