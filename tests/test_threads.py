"""Several threads on one classifier, several classifiers on one backbone: nobody sees what is half done."""

import copy
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import softtf
from contracts.cases import LEARNERS
from softtf import ContinualClassifier
from softtf.backbones import BackboneSpec, load_backbone
from softtf.devices.torch_state import own_settings
from softtf.errors import UserError
from softtf.learners import DualPrompt
from softtf.training.config import TrainConfig
from support.state import data, fresh, state_of, unseen
from support.tiny import SOFT_TF, TRAIN, assert_same, held_out, pictures, snapshot, task_data, tiny_backbone

SECONDS = 120  # none of this takes so long: a test that hangs fails


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Call each in a thread of its own, all at the same moment; return what they return."""
    barrier = threading.Barrier(len(calls), timeout=SECONDS)

    def started(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(SECONDS) for future in [pool.submit(started, call) for call in calls]]


def answers(model: ContinualClassifier, inputs: Any, tests: Any, folder: Path) -> dict[str, Any]:
    """All that can be asked of a classifier."""
    model.save_pretrained(folder)
    return {
        "probabilities": model.predict_proba(inputs).tolist(),
        "labels": model.predict(inputs),
        "tasks": model.predict_task(inputs),
        "described": model.named(model.answer(inputs)),
        "features": model.features(inputs).tolist(),
        "scores": model.evaluate(tests, progress=False),
        "known": (model.num_tasks, model.labels),
        "saved": {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".safetensors"},
    }


@pytest.mark.parametrize("name", ["Soft-TF, Feature ID", "FT", "EWC", "DER++", "iCaRL", "RanPAC", "L2P, PGP", "MBPA++"])
def test_while_a_task_is_learned_all_else_reads_the_tasks_before(name: str, tmp_path: Path) -> None:
    """Asked from another thread in the midst of several hooks, also where tasks share what is trained."""
    case = LEARNERS[name]
    model, smooth = fresh(case), fresh(case)
    for task in (0, 1):
        smooth.learn(data(case, task), progress=False)
    model.learn(data(case, 0), progress=False)
    tests, inputs = held_out([0]), unseen(case)
    before = answers(model, inputs, tests, tmp_path / "before")
    seen: dict[str, dict[str, Any]] = {}

    def watched(hook: str) -> Any:
        true = getattr(model.learner, hook)

        def call(*args: Any) -> Any:
            result = true(*args)
            if hook not in seen:
                seen[hook] = pool.submit(answers, model, inputs, tests, tmp_path / hook).result(SECONDS)
            return result

        return call

    hooks = ["begin_task", "fit" if name == "RanPAC" else "after_backward", "end_task"]
    with ThreadPoolExecutor(1) as pool:
        for hook in hooks:
            setattr(model.learner, hook, watched(hook))
        model.learn(data(case, 1), progress=False)
    assert list(seen) == hooks
    for hook, found in seen.items():
        assert found == before, hook
    assert_same(snapshot(model.learner), snapshot(smooth.learner))
    assert torch.equal(model.predict_proba(inputs), smooth.predict_proba(inputs))


def test_answers_given_before_a_task_was_finished_are_described_by_the_labels_of_then() -> None:
    model = fresh(LEARNERS["Soft-TF"])
    model.learn(task_data(0), progress=False)
    given = model.answer(pictures(5))
    described = model.named(given)
    model.learn(task_data(1), progress=False)
    assert model.named(given) == described


def test_a_copy_made_while_a_task_is_learned_is_of_the_tasks_before_and_learns_on() -> None:
    """The copy used to hold the half-learned task, or to refuse the next one, as another was being learned."""
    model, copies = fresh(LEARNERS["Soft-TF"]), []
    model.learn(task_data(0), progress=False)
    before = model.predict_proba(pictures(5))
    model.learner.after_backward = lambda: copies.append(copy.deepcopy(model))  # type: ignore[method-assign]
    model.learn(task_data(1), progress=False)
    one = copies[0]
    del one.learner.after_backward
    assert one.num_tasks == 1 and torch.equal(one.predict_proba(pictures(5)), before)
    one.learn(task_data(1), progress=False)
    assert_same(snapshot(one.learner), snapshot(model.learner))


def test_before_the_first_task_is_finished_nothing_was_learned() -> None:
    model, asked = fresh(LEARNERS["Soft-TF"]), []

    def ask() -> None:
        with pytest.raises(UserError, match="nothing was learned yet") as caught:
            model.predict(pictures(2))
        asked.append(str(caught.value))

    with ThreadPoolExecutor(1) as pool:
        model.learner.after_backward = lambda: pool.submit(ask).result(SECONDS)  # type: ignore[method-assign]
        model.learn(task_data(0), progress=False)
    assert asked and model.num_tasks == 1


def test_a_second_learn_is_refused_and_the_first_goes_on() -> None:
    case = LEARNERS["Soft-TF"]
    model, smooth = fresh(case), fresh(case)
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(UserError) as caught:
            model.learn(task_data(1), progress=False)
        refused.append(str(caught.value))

    with ThreadPoolExecutor(1) as pool:
        model.learner.after_backward = lambda: pool.submit(second).result(SECONDS)  # type: ignore[method-assign]
        model.learn(task_data(0), progress=False)
    del model.learner.after_backward
    assert set(refused) == {"another task is being learned by this classifier; call learn again when it has ended"}
    smooth.learn(task_data(0), progress=False)
    assert_same(snapshot(model.learner), snapshot(smooth.learner))
    model.learn(task_data(1), progress=False)
    assert model.num_tasks == 2


def test_of_learns_that_begin_at_once_one_learns() -> None:
    """Whichever: the others are refused, or come when it has ended, with the same class."""
    model = fresh(LEARNERS["linear head"])

    def learn() -> bool:
        try:
            model.learn(task_data(0), progress=False)
        except UserError as error:
            assert "another task is being learned" in str(error) or "learned already" in str(error)
            return False
        return True

    assert sorted(at_once(*[learn] * 4)) == [False, False, False, True]
    assert model.num_tasks == model.learner.num_tasks == 1
    alone = fresh(LEARNERS["linear head"])
    alone.learn(task_data(0), progress=False)
    assert_same(snapshot(model.learner), snapshot(alone.learner))


# --- Precision, and a backbone that several share ----------------------------------------------------------------


@pytest.mark.slow
def test_predictions_in_several_precisions_on_one_backbone_do_not_disturb_each_other() -> None:
    backbone = tiny_backbone().float()
    backbone.compute_dtype = torch.float32
    models = []
    for precision in ("float32", "bfloat16"):
        model = ContinualClassifier(backbone, SOFT_TF, TRAIN, device="cpu", seed=3, precision=precision)
        model.learn(task_data(0), progress=False)
        models.append(model)
    images = pictures(6)
    alone = [model.predict_proba(images) for model in models]
    assert not torch.equal(*alone)

    def ask(model: ContinualClassifier) -> list[torch.Tensor]:
        return [model.predict_proba(images) for _ in range(5)]

    for number, found in enumerate(at_once(*[lambda m=m: ask(m) for m in models * 3])):
        assert all(torch.equal(probabilities, alone[number % 2]) for probabilities in found)
    assert backbone.compute_dtype is torch.float32


@pytest.mark.slow
def test_two_classifiers_on_one_backbone_learn_at_once_as_they_do_alone() -> None:
    def learned(backbone: Any, spec: Any, precision: Any) -> ContinualClassifier:
        config = TrainConfig(epochs=2, batch_size=4, learning_rate=0.1, precision=precision)
        model = ContinualClassifier(backbone, spec, config, device="cpu", seed=3, precision=precision)
        for task in (0, 1):
            model.learn(task_data(task, 2), progress=False)
        return model

    settings = [(SOFT_TF, "bfloat16"), (DualPrompt(e_layers=(3,), feature_id=20), "float32")]
    alone = [learned(tiny_backbone().float(), *setting) for setting in settings]
    backbone = tiny_backbone().float()
    both = at_once(*[lambda s=s: learned(backbone, *s) for s in settings])
    for ours, theirs in zip(both, alone, strict=True):
        assert_same(snapshot(ours.learner), snapshot(theirs.learner))
        assert torch.equal(ours.predict_proba(pictures(5)), theirs.predict_proba(pictures(5)))
    assert backbone.weights_hash() == tiny_backbone().float().weights_hash()


def test_a_failed_task_in_one_thread_leaves_predictions_of_others_alone() -> None:
    case = LEARNERS["FT"]
    model = fresh(case)
    model.learn(data(case, 0), progress=False)
    before, images = state_of(model, case), pictures(4)
    expected = model.predict_proba(images)

    def fail() -> None:
        raise KeyboardInterrupt

    model.learner.end_task = lambda data: fail()  # type: ignore[method-assign]

    def learn() -> None:
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                model.learn(data(case, 1), progress=False)

    found = at_once(learn, *[lambda: [model.predict_proba(images) for _ in range(6)]] * 2)[1:]
    assert all(torch.equal(probabilities, expected) for some in found for probabilities in some)
    del model.learner.end_task
    assert state_of(model, case) == before


# --- Settings of the whole process -------------------------------------------------------------------------------


@pytest.mark.parametrize("first_out", [0, 1])
def test_the_default_type_is_float32_until_the_last_thread_leaves_and_then_as_it_was(first_out: int) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        events = [[threading.Event(), threading.Event(), threading.Event()] for _ in range(2)]

        def work(entered: threading.Event, leave: threading.Event, left: threading.Event) -> torch.dtype:
            with own_settings():
                entered.set()
                assert leave.wait(SECONDS)
                kind = torch.get_default_dtype()
            left.set()
            return kind

        with ThreadPoolExecutor(2) as pool:
            futures: list[Future[torch.dtype]] = []
            for three in events:
                futures.append(pool.submit(work, *three))
                assert three[0].wait(SECONDS)
            for number in (first_out, 1 - first_out):
                events[number][1].set()
                assert events[number][2].wait(SECONDS)
                assert torch.get_default_dtype() is (torch.float32 if number == first_out else torch.float64)
            assert [future.result(SECONDS) for future in futures] == [torch.float32] * 2
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_predicts_on_one_thread_and_is_refused_more_of_them(threads: int) -> None:
    """In a process of its own, with a time limit: without the check the child waits for ever."""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, here / "support" / "fork_script.py", str(threads)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (here, Path(softtf.__file__).parents[1])))},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    said = "the same" if threads == 1 else "forked from one that had used softtf, and torch's threads do not survive"
    assert said in done.stdout
    assert "then the same" in done.stdout


def test_backbones_that_are_built_at_once_have_the_weights_that_they_have_alone() -> None:
    spec = BackboneSpec("random:vit_tiny_patch16_224", image_size=32)
    alone = load_backbone(spec).weights_hash()
    assert at_once(*[lambda: load_backbone(spec).weights_hash()] * 4) == [alone] * 4


def test_building_a_backbone_leaves_the_random_numbers_of_other_threads_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(100_000)
    torch.manual_seed(5)
    specs = [BackboneSpec("vit_tiny_patch8_64"), BackboneSpec("random:vit_tiny_patch16_224", image_size=32)]
    *_, drawn = at_once(
        *(lambda spec=spec: load_backbone(spec) for spec in specs),  # type: ignore[misc]
        lambda: torch.cat([torch.rand(1000) for _ in range(100)]),
    )
    assert torch.equal(drawn, expected)
