"""The classes that a cross-entropy is over: two words for every method, the published one if none is said."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from contracts.cases import LEARNERS
from softtf.classifier import ContinualClassifier
from softtf.config.tree import from_dict, from_yaml, to_dict, to_yaml
from softtf.errors import UserError
from softtf.learners import (
    EASE,
    FT,
    KLDA,
    MOS,
    NCM,
    TUNA,
    BlockRidge,
    CLIPPrompt,
    DERpp,
    DualPrompt,
    FlyCL,
    HiDePrompt,
    LayUP,
    LearnerSpec,
    LinearHead,
    NoRGa,
    RanPAC,
    RanPACFSA,
)
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from softtf.learners.foreseen import ForeseenHeads
from softtf.learners.spans import has_choice, span_of
from softtf.runs.config import RunConfig
from softtf.training.data import begin_training
from softtf.training.task import TaskTraining
from support.folders import as_softtf_0_1_saved_it
from support.slow import each
from support.tiny import TRAIN, backbone_for, classifier, noise, task_data, tiny_backbone
from support.tiny_bert import text_task, tiny_bert
from support.tuned import cross_entropy, loss_of, whole_batch

PUBLISHED = {
    "ft": "seen",
    "der++": "seen",
    "bic": "seen",
    "der": "seen",
    "mbpa++": "seen",
    "idbr": "seen",
    "ewc": "own",
    "lwf": "own",
    "icarl": "own",
    "linear-head": "own",
    "dual-prompt": "own",
    "l2p": "own",
    "slm": "own",
    "progressive-prompts": "own",
    "coda-prompt": "own",
    "slca": "own",
    "clip-prompt": "own",
    "clip-prompt-published": "own",
}
SPECS = {case.spec.kind: case.spec for case in reversed(LEARNERS.values()) if case.spec.kind in PUBLISHED}
SPECS["dual-prompt"] = LEARNERS["Soft-TF"].spec
trained = each("kind", list(PUBLISHED), ("ft", "der++", "dual-prompt", "slm"))
words = pytest.mark.parametrize("classes", ["seen", "own"])


def of(kind: str, classes: str) -> LearnerSpec:
    return replace(SPECS[kind], classes=classes, **({"total_classes": None} if kind == "der++" else {}))


def in_third_task(spec: LearnerSpec) -> TaskTraining:
    """The training of task 3 in float64, before its first step."""
    texts = spec.kind == "idbr"
    data = text_task if texts else task_data
    learner, classes = spec.new_learner(tiny_bert() if texts else backbone_for(spec), 3), ClassTable()
    config = replace(TRAIN, learning_rate=0.1, augment=False)
    for task in range(3):
        training = begin_training(learner, classes, data(task), f"task {task}", config)
        if task < 2:
            training.run_epoch()
            training.finish()
    learner.double()
    training.dtype = torch.float64
    return training


def new_batch(training: TaskTraining) -> Batch:
    """The task's own examples, without those that are replayed."""
    own = training.learner.task_columns(training.learner.num_tasks - 1).start
    return whole_batch(training, (training.loader.targets >= own).nonzero()[:, 0].tolist())


def reach(training: TaskTraining, tasks: Sequence[int]) -> list[float]:
    """The size of the cross-entropy's gradient in each of these tasks' columns of the head."""
    heads = training.learner.network.heads.requires_grad_(True)
    losses = loss_of(training, new_batch(training))
    term = losses["classification" if "classification" in losses else "cross_entropy"]
    columns = [[v for n, v in heads.slot(t).items() if n != "earlier"] for t in tasks]
    found = [torch.autograd.grad(term, own, allow_unused=True, retain_graph=True) for own in columns]
    return [sum(float(g.abs().sum()) for g in gradients if g is not None) for gradients in found]


def test_every_method_with_a_cross_entropy_has_the_published_span_as_its_default() -> None:
    found = {kind: cls for kind, cls in LearnerSpec.kinds().items() if cls.__module__.startswith("softtf.")}
    assert {kind: span_of(cls()) for kind, cls in found.items() if "classes" in {f.name for f in fields(cls)}} == (
        PUBLISHED
    )
    assert found.keys() - PUBLISHED.keys() == {
        "block-ridge",
        "ease",
        "fly-cl",
        "klda",
        "hide-prompt",
        "layup",
        "mos",
        "ncm",
        "norga",
        "ranpac",
        "ranpac-fsa",
        "clip-zero-shot",
        "tuna",
    }


@pytest.mark.parametrize("spec", [NCM, RanPAC, BlockRidge, FlyCL, KLDA, LayUP])
def test_a_method_without_a_cross_entropy_has_no_such_setting(spec: type[LearnerSpec]) -> None:
    assert span_of(spec()) == "–" and spec().new_learner(tiny_backbone(), 0).classes is None
    with pytest.raises(TypeError, match="classes"):
        spec(classes="own")  # type: ignore[call-arg]
    with pytest.raises(UserError, match="classes"):
        from_dict(LearnerSpec, {"kind": spec.kind, "classes": "own"})


@pytest.mark.parametrize("spec", [EASE, HiDePrompt, MOS, NoRGa, RanPACFSA, TUNA])
def test_a_method_whose_loss_is_within_a_task_says_so_and_has_no_such_setting(spec: type[LearnerSpec]) -> None:
    assert span_of(spec()) == "own" and not has_choice(spec()) and "classes" not in to_dict(spec())
    with pytest.raises(UserError, match="classes"):
        from_dict(LearnerSpec, {"kind": spec.kind, "classes": "own"})


@words
@trained
def test_the_cross_entropy_of_new_examples_reaches_other_tasks_columns_only_if_it_is_over_them(
    kind: str, classes: str
) -> None:
    training = in_third_task(of(kind, classes))
    first, second, own = reach(training, [0, 1, 2])
    assert own > 1e-6
    if classes == "own":
        assert first == second == 0
    else:
        assert first > 1e-6 and second > 1e-6


@words
@trained
def test_over_all_classes_seen_their_classifiers_go_on_training(kind: str, classes: str) -> None:
    training = in_third_task(of(kind, classes))
    old = {name for name in training.parameters if name.startswith(("head.slots.0", "head.slots.1"))}
    rehearses = SPECS[kind].kind in ("der++", "bic", "der", "mbpa++", "idbr", "icarl", "lwf")
    texts_stand = isinstance(SPECS[kind], CLIPPrompt)
    assert bool(old) == (rehearses or (classes == "seen" and not texts_stand))


@words
def test_a_replayed_example_is_compared_with_all_classes_seen(classes: str) -> None:
    learner = in_third_task(FT(classes=classes)).learner  # type: ignore[arg-type]
    logits, targets = noise(6, 9).requires_grad_(True), torch.tensor([0, 4, 5, 8, 6, 2])
    first = [5 if classes == "own" and t >= 5 else 0 for t in targets.tolist()]
    terms = [cross_entropy(logits[i : i + 1, f:], [int(targets[i]) - f]) for i, f in enumerate(first)]
    expected = torch.stack(terms)
    torch.testing.assert_close(learner.cross_entropy(logits, targets, "none"), expected)
    torch.testing.assert_close(learner.cross_entropy(logits, targets), expected.mean())
    (gradient,) = torch.autograd.grad(learner.cross_entropy(logits, targets), logits)
    assert gradient.isfinite().all()
    own = learner.cross_entropy(logits[2:4, 5:], targets[2:4])  # of the task's own columns alone
    torch.testing.assert_close(own, cross_entropy(logits[2:4, 5:], [0, 3]))


def test_der_plus_plus_has_logits_of_classes_to_come_in_both_cross_entropies_and_in_what_it_stores() -> None:
    training = in_third_task(DERpp(exemplars=7, classes="all", total_classes=12))
    learner, heads = training.learner, training.learner.network.heads
    assert isinstance(heads, ForeseenHeads) and heads.weight.shape == (12, 32)
    assert {len(kept.logits) for kept in learner.buffer.items} == {12}  # type: ignore[attr-defined]
    batch = new_batch(training)
    with learner.computing_in(torch.float64):
        features = learner.network.top(learner.network.trunk(learner.network.stem(batch.inputs)), task=2)
    logits: Tensor = features @ heads.weight.T + heads.bias
    losses = loss_of(training, batch)
    torch.testing.assert_close(losses["cross_entropy"], cross_entropy(logits, batch.targets.tolist()))
    for term in losses.values():
        (gradient,) = torch.autograd.grad(term, heads.bias, retain_graph=True)
        assert (gradient.abs() > 1e-9).all()


def test_columns_that_were_foreseen_are_taken_as_they_are_and_answers_are_among_classes_seen(tmp_path: Path) -> None:
    model = classifier(DERpp(exemplars=7, classes="all", total_classes=9), 1)
    heads = model.learner.network.heads
    weight, images = heads.weight.detach().clone(), task_data(0)  # type: ignore[union-attr]
    assert model.predict_proba([images[0]]).shape == (1, 3)
    finished = model.learner.face()
    model.learner.go_on()
    model.learner.open_slots(2)
    heads = model.learner.network.heads
    assert torch.equal(heads.value(1, "weight"), weight[3:5]) and heads.value(1, "bias").shape == (2,)
    model.learner.become(finished)
    model.save_pretrained(tmp_path / "kept")
    again = ContinualClassifier.from_pretrained(tmp_path / "kept", backbone=tiny_backbone(), device="cpu")
    assert torch.equal(again.learner.network.heads.weight, weight)  # type: ignore[arg-type]
    again.learn(task_data(1), config=TRAIN, progress=False)
    with pytest.raises(UserError, match="total_classes is 9, too few for 10 classes"):
        again.learn((list(task_data(2))[:10], [f"new {i % 5}" for i in range(10)]), progress=False)
    assert again.num_tasks == again.learner.num_tasks == 2


def test_the_number_of_classes_to_come_must_be_known_and_a_stream_tells_it() -> None:
    spec = DERpp(classes="all")
    with pytest.raises(UserError, match="give total_classes"):
        spec.new_learner(tiny_backbone(), 0)
    assert spec.for_stream(20) == DERpp(classes="all", total_classes=20)
    assert replace(spec, total_classes=30).for_stream(20).total_classes == 30
    for other in (DERpp(), FT(), DualPrompt()):
        assert other.for_stream(20) == other
    with pytest.raises(UserError, match="too few for 21 classes"):
        DERpp(classes="all", total_classes=20).for_stream(21)
    with pytest.raises(UserError, match="total_classes goes with classes='all'"):
        DERpp(total_classes=20)
    with pytest.raises(UserError, match="total_classes must be at least 1"):
        DERpp(classes="all", total_classes=0)


@pytest.mark.parametrize("kind", ["ft", "ewc"])
def test_the_words_of_earlier_versions_are_read(kind: str) -> None:
    cls = LearnerSpec.kinds()[kind]
    assert from_dict(LearnerSpec, {"kind": kind, "classes": "task"}) == cls(classes="own")  # type: ignore[call-arg]
    config = RunConfig(learner=cls(classes="own"))  # type: ignore[call-arg]
    text = to_yaml(config)
    assert text.count("classes: own") == 1
    assert from_yaml(RunConfig, text.replace("classes: own", "classes: task")) == config


@trained
def test_settings_saved_before_there_was_a_choice_mean_what_was_done_then(kind: str) -> None:
    if kind in ("ft", "ewc"):
        return  # these had one, and saved it
    before = to_dict(LearnerSpec.kinds()[kind]())
    for name in ("classes", "total_classes"):
        before.pop(name, None)
    assert span_of(from_dict(LearnerSpec, before)) == PUBLISHED[kind]


def test_a_learner_saved_in_the_words_of_an_earlier_version_loads(tmp_path: Path) -> None:
    model = classifier(FT(classes="own"), 2)
    model.save_pretrained(tmp_path / "kept")
    as_softtf_0_1_saved_it(tmp_path / "kept")
    header = tmp_path / "kept" / "learner.json"
    header.write_text(header.read_text().replace('"classes": "own"', '"classes": "task"'))
    again = ContinualClassifier.from_pretrained(tmp_path / "kept", backbone=tiny_backbone(), device="cpu")
    assert again.learner.classes == "own" and again.header.learner == FT(classes="own", feature_id=0)
    assert again.predict(list(task_data(0))) == model.predict(list(task_data(0)))


@pytest.mark.parametrize(
    ("spec", "word", "message"),
    [
        (FT, "task", "classes='task' is called 'own' now"),
        (FT, "all", "ft.classes: unknown value 'all'"),
        (LinearHead, "sen", "linear-head.classes: unknown value 'sen'.* seen"),
    ],
)
def test_other_words_are_refused(spec: Callable[..., LearnerSpec], word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        spec(classes=word).new_learner(tiny_backbone(), 0)


@pytest.mark.parametrize("spec", [LinearHead(), LinearHead(classes="seen"), DualPrompt(e_layers=(3,))])
def test_a_task_of_one_class_that_trains_nothing_is_told_once(spec: LearnerSpec) -> None:
    model = ContinualClassifier(tiny_backbone(), spec, TRAIN)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for label in "abc":
            model.learn((list(task_data(0))[:6], [label] * 6), progress=False)
    told = [str(w.message) for w in found if "one class" in str(w.message)]
    assert len(told) == (spec.classes == "own")  # type: ignore[attr-defined]
    assert all("task 1 has one class" in text and "classes='seen'" in text for text in told)
