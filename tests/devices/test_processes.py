"""Several processes of a run learn what one does: rows and sums are divided, and nothing is counted twice."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from contracts.cases import LEARNERS
from softtf import ContinualClassifier
from softtf.backbones import Backbone
from softtf.devices import processes
from softtf.devices.processes import Group, check_alike, join, leave, mine, own_rows, share
from softtf.errors import UserError
from softtf.evaluation.evaluate import evaluate
from softtf.evaluation.test_data import TestData
from softtf.files.tensors import checksum
from softtf.inference.policy import Policy
from softtf.inference.pooling import Pooling
from softtf.learners import Learner, LearnerSpec
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from softtf.learners.fine_tuning import FTLearner
from softtf.learners.state import LearnerState
from softtf.testing.learner import check_mean
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from support.several import several
from support.slow import each
from support.tiny import SMALL_PROJECTION, TRAIN, assert_same, backbone_for, held_out, task_data, training_of
from support.tiny_bert import text_task, tiny_bert

TEXTS = ("L2P, PGP", "IDBR")
FEW = (  # one for each way to divide a task, or not to
    "Soft-TF, PGP",
    "DualPrompt + LoRA, dropout",
    "linear head, Feature ID",
    "EWC",
    "DER++",
    "SLCA",
    "MOS",
    "RanPAC, adapted",
    "block ridge",
    "KLDA",
    *TEXTS,
)
FAMILIES = (
    *FEW,
    "DualPrompt + WSN",
    "CODA-Prompt + Soft-TF",
    "CLIP-Prompt as published, masked",
    "Progressive Prompts",
    "SLM",
    "LwF",
    "iCaRL",
    "BiC",
    "DER + MCG",
    "MBPA++",
    "EASE",
    "TUNA",
    "HiDe-Prompt",
    "Fly-CL",
    "LayUP",
    "NCM",
)
LOOSE = "head", "confidence"  # of DER, whose classifier is fitted only roughly: features * (1 + 1e-12) change it more
POLICIES = [Policy("oracle"), Policy("prompt-id", Pooling(2)), Policy("gradient-id")]
BATCH = 5  # of 12 and 8 examples: the last batches have 2 and 3, fewer than there are processes, or as many
SUMMED = ("statistics.exact_ridge", "statistics.random_ridge", "statistics.task_ridge", "learners.klda")


@contextmanager
def exactly() -> Iterator[None]:
    """Within the block, train in float64, so that rounding hides no difference, and sum few rows at once."""
    usual = LearnerState.open_slots

    def open_slots(learner: LearnerState, num_classes: int) -> None:
        usual(learner, num_classes)
        learner.double()

    with ExitStack() as stack:
        stack.enter_context(patch.object(LearnerState, "open_slots", open_slots))
        stack.enter_context(patch("softtf.training.task.matmul_dtype", lambda *_: torch.float64))
        stack.enter_context(patch("softtf.learners.spec.PROJECTION", SMALL_PROJECTION))  # in new processes too
        for module in SUMMED:
            stack.enter_context(patch(f"softtf.{module}.ROWS", 8))
        yield


def spec_of(family: str) -> LearnerSpec:
    """A family's spec that keeps parameters exactly, if it can: a step of int8 would hide or magnify what differs."""
    spec = LEARNERS[family].spec
    exact = replace(spec, storage="float32")
    return exact if spec.new_learner(backbone_of(family), 0).store_as("float32") else spec


def backbone_of(family: str) -> Backbone:
    return tiny_bert() if family in TEXTS else backbone_for(LEARNERS[family].spec)


@exactly()
def learned(family: str) -> dict[str, Tensor]:
    """Everything that a learner holds after two tasks, and what it answers."""
    spec, task_of = spec_of(family), text_task if family in TEXTS else task_data
    train = training_of(spec, replace(TRAIN, batch_size=BATCH))
    if spec.reads is None:
        share_of_rate = TrainConfig(**spec.training).learning_rate / TrainConfig().learning_rate
        train = replace(train, learning_rate=share_of_rate * TRAIN.learning_rate)
    model = ContinualClassifier(backbone_of(family), spec, train, device="cpu", seed=3)
    for task in range(2):
        model.learn(task_of(task), progress=False)
    learner = model.learner
    held = {f"shared/{name}": value for name, value in learner.shared_state_dict().items()}
    for task in range(2):
        parts = learner.task_state_dict(task) | learner.shares.tensors(task)
        held |= {f"{task}/{name}": value for name, value in parts.items()}
    return held if family in TEXTS else held | answers(model)


def answers(model: ContinualClassifier) -> dict[str, Tensor]:
    """Every test sample's label, task and confidence, under each policy that the learner supports."""
    tests, table, learner = held_out(range(2)), ClassTable(), model.learner
    for test in tests:
        table.add(test.classes, test.name)
    data = TestData.of(tests, table, learner.network.backbone, 4, again=True)
    policies = [p for p in POLICIES if p.inference in ("oracle", *learner.policies)]
    scores = evaluate(learner, data, table.column_labels(), policies, batch_size=4, dtype=torch.float64)
    parts = ("answer", "task", "confidence")
    return {f"{p.code}/{part}": getattr(score.samples, part) for p, score in scores.items() for part in parts}


def learn_families(families: tuple[str, ...], folder: Path) -> None:
    """Learn some families as one of several processes, and save what they hold."""
    join("cpu")
    for family in families:
        save_file({name: value.contiguous().clone() for name, value in learned(family).items()}, folder / family)
    with pytest.raises(UserError, match="weights differ between the processes"):
        check_alike("weights", lambda: checksum({"weight": torch.tensor([1.0, folder.name == "1"])}))
    leave()


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Tensor]]:
    return {family: learned(family) for family in FAMILIES}


@pytest.mark.slow
@pytest.mark.parametrize(("count", "families"), [(2, FAMILIES), (3, FEW)])
def test_every_family_learns_and_answers_in_several_processes_as_in_one(
    count: int, families: tuple[str, ...], alone: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    codes = several(count, partial(learn_families, families), tmp_path)
    assert codes == [0] * count, (tmp_path / "0/err").read_text()[-3000:]
    for family in families:
        first, *others = (load_file(tmp_path / str(number) / family) for number in range(count))
        for other in others:
            assert_same(other, first)
        assert first.keys() == alone[family].keys(), family
        for name, value in alone[family].items():
            if family != "DER + MCG" or not any(part in name for part in LOOSE):
                torch.testing.assert_close(
                    first[name], value, rtol=2e-6, atol=2e-6, msg=lambda text, place=(family, name): f"{place}: {text}"
                )
    integers = {name: value for name, value in alone["block ridge"].items() if "/share." in name}
    assert integers
    assert_same({name: load_file(tmp_path / "0/block ridge")[name] for name in integers}, integers)


@each("family", FAMILIES, ("Soft-TF, PGP", "LwF", "SLM"))
def test_a_loss_that_processes_divide_is_the_mean_of_its_parts(family: str) -> None:
    if new_learner(family).divides_batches:
        learner, batch = second_task(family)
        with learner.computing_in(torch.float64):
            check_mean(learner, batch)


def test_every_class_whose_loss_is_called_a_mean_is_tested() -> None:
    declared, waiting = set(), [Learner]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("softtf.") and vars(kind).get("loss_is_mean"):
            declared.add(kind)
    tested = {type(learner) for learner in map(new_learner, FAMILIES) if learner.divides_batches}
    assert declared == tested | {FTLearner}


def new_learner(family: str) -> Learner:
    return LEARNERS[family].spec.new_learner(backbone_of(family), 0)


def second_task(family: str) -> tuple[Learner, Batch]:
    """A learner whose second task has begun, and a batch of it."""
    spec = LEARNERS[family].spec
    task_of, train = text_task if family in TEXTS else task_data, training_of(spec, TRAIN)
    learner, table = new_learner(family), ClassTable()
    first = begin_training(learner, table, task_of(0), "first", train)
    if family != "RanPAC, adapted":  # only its first task takes steps
        first.run_epoch()
        first.finish()
        first = begin_training(learner, table, task_of(1), "second", train)
    learner.double()
    images, targets, rows = next(first.loader.epoch(0))
    return learner, Batch(images if images.dtype == torch.int64 else images.double(), targets, rows)


def test_another_loss_is_a_mean_only_if_its_class_says_so() -> None:
    dual_prompt = type(new_learner("DualPrompt"))
    assert dual_prompt.loss_is_mean
    assert type("Same", (dual_prompt,), {}).loss_is_mean
    assert not type("Other", (dual_prompt,), {"loss": lambda self, batch: {}}).loss_is_mean


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 24])
def test_processes_divide_the_rows_of_a_batch_and_their_shares_add_up(
    count: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, shares, items = [], [], []
    for number in range(count):
        monkeypatch.setattr(processes, "_group", Group(number, count))
        taken.append(own_rows(size))
        shares.append(share(size))
        items += mine(range(size))
    counted = [part for part, of_whole in zip(taken, shares, strict=True) if of_whole]
    assert [counted[0].start, counted[-1].stop] == [0, size]
    assert all(one.stop == other.start for one, other in pairwise(counted))
    assert all(
        of_whole == (part.stop - part.start) / size for part, of_whole in zip(taken, shares, strict=True) if of_whole
    )
    assert all(0 <= part.start < part.stop <= size for part in taken)
    assert sum(shares) == pytest.approx(1)
    assert sorted(items) == list(range(size))


@pytest.fixture
def one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")


@pytest.mark.usefixtures("one_of_two")
def test_processes_are_not_joined_without_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UserError, match=r"one of 2 processes.*pip install 'softtf\[devices\]'"):
        join()


@pytest.mark.usefixtures("one_of_two")
def test_a_process_cannot_choose_one_of_several_devices() -> None:
    with pytest.raises(UserError, match="device 'cuda:1' is for one process; give auto or cpu"):
        join("cuda:1")


def test_one_process_needs_no_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    join()
    assert processes.count() == 1
