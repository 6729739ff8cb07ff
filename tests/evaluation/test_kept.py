"""Scoring computes nothing twice: what no later task changes is kept, and the answers are those without keeping."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.cases import MASK
from softtf.adaptations import FineTuning
from softtf.backbones.base import Backbone, Tokens
from softtf.backbones.features import FixedQueries
from softtf.classifier import ContinualClassifier
from softtf.evaluation.evaluate import FEATURES, SAMPLES, evaluate
from softtf.evaluation.kept import KeptTrunks
from softtf.evaluation.test_data import TestData
from softtf.inference.policy import Policy
from softtf.inference.pooling import Pooling
from softtf.learners import FT, L2P, NCM, CLIPZeroShot, DualPrompt, LearnerSpec, LinearHead, RanPAC
from softtf.learners.class_table import ClassTable
from support.tiny import backbone_for, bare, classifier, held_out, task_data

BARE: dict[str, LearnerSpec] = {
    "NCM": NCM(),
    "RanPAC": RanPAC(32),
    "linear head": LinearHead(),
    "linear head, statistics": LinearHead(feature_id=24, mcg=2),
    "CLIP zero-shot": CLIPZeroShot(),
}
SETTLED: dict[str, LearnerSpec] = {
    "no G": DualPrompt(g_layers="none", e_layers=(3,), adapt=MASK),
    "G frozen": DualPrompt(g_layers=(1, 2), e_layers=(3, 4), adapt=MASK, freeze_g_after_first=True),
    "G above the trunk": DualPrompt(g_layers=(3,), e_layers=(3,), adapt=MASK),
    "statistics": DualPrompt(g_layers="none", e_layers=(4,), adapt=MASK, feature_id=24),
}
CHANGING: dict[str, LearnerSpec] = {
    "G trained": DualPrompt(g_layers=(1, 2), e_layers=(3, 4), adapt=MASK),
    "pool": L2P(4, 2, 2),
    "whole network": FT(FineTuning("all")),
}


def counted(backbone: Backbone) -> Counter[int]:
    """How many samples each block is run on from now on."""
    seen: Counter[int] = Counter()
    true_block = backbone.block

    def block(index: int, tokens: Tokens, *args: Any) -> Tokens:
        seen[index] += len(tokens)
        return true_block(index, tokens, *args)

    backbone.block = block  # type: ignore[method-assign]
    return seen


class Stream:
    """A learner of three tasks that is scored after each one, as in a run."""

    def __init__(self, spec: LearnerSpec, kept: bool, limit: int = 2**30) -> None:
        self.model = classifier(spec, 0, backbone_for(spec))
        self.seen = counted(self.model.learner.network.backbone)
        tests, table = held_out(range(3)), ClassTable()
        for index, test in enumerate(tests):
            table.add(test.classes, f"task {index + 1}")
        self.data = TestData.of(tests, table, self.model.learner.network.backbone, 4)
        if kept:
            queries = FixedQueries(self.model.learner.network.backbone, self.data.loader)
            self.data = replace(self.data, queries=queries, trunks=KeptTrunks(limit))

    def score(self, policies: list[Policy], **options: Any) -> dict[str, object]:
        self.seen.clear()
        columns = self.model.classes.column_labels()
        options = {"batch_size": 5, "dtype": torch.float64} | options
        found = evaluate(self.model.learner, self.data, columns, policies, **options)
        return {policy.code: (s.correct, s.task_correct, s.total) for policy, s in found.items()}

    def learn(self) -> None:
        self.model.learn(task_data(self.model.num_tasks), progress=False)


def policies_of(spec: LearnerSpec) -> list[Policy]:
    names = bare(spec).new_learner(backbone_for(spec), 0).policies
    return [*map(Policy, names), *(Policy(n, Pooling(3)) for n in names if n != "none"), Policy("oracle")]


@pytest.mark.slow
@pytest.mark.parametrize("name", BARE)
def test_where_nothing_edits_the_backbone_it_is_run_once_for_all_scorings(name: str) -> None:
    spec = BARE[name]
    policies, kept, fresh = policies_of(spec), Stream(spec, True), Stream(spec, False)
    for task in range(3):
        kept.learn()
        fresh.learn()
        assert kept.score(policies) == fresh.score(policies)
        assert fresh.seen[3] >= (task + 1) * 6
        assert kept.seen == ({} if task else dict.fromkeys(range(4), len(kept.data.tasks)))
        assert kept.score(policies, shuffle_seed=1) == fresh.score(policies, shuffle_seed=1)
        assert not kept.seen


@pytest.mark.parametrize("name", BARE)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_logits_of_kept_features_are_those_of_the_tokens_up_to_rounding(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    stream = Stream(BARE[name], True)
    stream.learn()
    learner, data = stream.model.learner.to(dtype), stream.data
    with torch.no_grad(), learner.computing_in(dtype):
        kept = learner.logits(Tokens.of_features(FixedQueries(learner.network.backbone, data.loader).get().values), 0)
        trunk = learner.network.trunk(learner.network.stem(data.loader.inputs(range(len(data.tasks)))))
        fresh = learner.logits(trunk, 0)
    torch.testing.assert_close(kept, fresh, rtol=tolerance, atol=tolerance * float(fresh.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SETTLED))
def test_a_settled_trunk_is_computed_once_and_is_bit_for_bit_a_fresh_one(name: str) -> None:
    spec = SETTLED[name]
    policies, kept, fresh = policies_of(spec), Stream(spec, True), Stream(spec, False)
    first, last = kept.model.learner.network.first_task_block, 3
    for task in range(3):
        kept.learn()
        fresh.learn()
        assert kept.score(policies) == fresh.score(policies)
        settled = task > 0 or not spec.freeze_g_after_first  # type: ignore[attr-defined]
        samples = int((kept.data.tasks <= task).sum())
        kept.score(policies)
        assert [kept.seen[block] for block in range(first)] == [0 if settled else samples] * first
        assert kept.seen[last] > 0
    for (dtype, rows), found in kept.data.trunks._kept.items():  # type: ignore[union-attr]
        with torch.no_grad(), kept.model.learner.computing_in(dtype):
            network = kept.model.learner.network
            trunk = network.trunk(network.stem(kept.data.loader.inputs(rows)))
        assert torch.equal(found.tokens.x, trunk.x) and found.seconds > 0
    assert len(kept.data.trunks._kept) == 9  # type: ignore[union-attr]  # of 9, 6 and 12 samples in groups of three


@pytest.mark.parametrize("name", CHANGING)
def test_a_trunk_that_goes_on_changing_is_not_kept(name: str) -> None:
    spec = CHANGING[name]
    policies, kept, fresh = policies_of(spec), Stream(spec, True), Stream(spec, False)
    for _ in range(2):
        kept.learn()
        fresh.learn()
        assert kept.score(policies) == fresh.score(policies)
    assert not kept.data.trunks._kept  # type: ignore[union-attr]


def test_what_does_not_fit_is_computed_each_time() -> None:
    spec = SETTLED["no G"]
    policies, kept, fresh = policies_of(spec), Stream(spec, True, limit=11_000), Stream(spec, False)
    kept.learn(), fresh.learn()
    for _ in range(2):
        assert kept.score(policies) == fresh.score(policies)
        trunks = kept.data.trunks
        assert trunks is not None and 0 < trunks._bytes <= 11_000
    assert 0 < kept.seen[0] < fresh.seen[0]


def test_shuffled_batches_never_come_again_and_are_not_kept() -> None:
    stream = Stream(SETTLED["no G"], True)
    stream.learn()
    stream.score([Policy("oracle")], shuffle_seed=0)
    assert not stream.data.trunks._kept  # type: ignore[union-attr]


def test_another_g_prompt_finds_nothing() -> None:
    """As when the learners of one run are scored as they were after each task."""
    stream = Stream(SETTLED["G frozen"], True)
    stream.learn()
    stream.learn()
    policies = [Policy("prompt-id"), Policy("oracle")]
    stream.score(policies)
    with torch.no_grad():
        for _, parameter in stream.model.learner.shared_parameters():
            parameter.add_(1)
    found = stream.score(policies)
    assert stream.seen[0] > 0
    stream.data = replace(stream.data, trunks=None)
    assert stream.score(policies) == found


def test_seconds_here_and_from_nothing() -> None:
    stream = Stream(SETTLED["no G"], True)
    stream.learn()
    columns = stream.model.classes.column_labels()
    policy = Policy("prompt-id")
    first, again = (evaluate(stream.model.learner, stream.data, columns, [policy])[policy] for _ in range(2))
    trunks = stream.data.trunks
    assert trunks is not None
    for key, found in trunks._kept.items():
        trunks._kept[key] = replace(found, seconds=500.0)
    third = evaluate(stream.model.learner, stream.data, columns, [policy])[policy]
    assert third.seconds < 100 and third.from_nothing == pytest.approx(500 * len(trunks._kept), rel=0.01)
    assert first.seconds > 0 and again.from_nothing > again.seconds > 0


def test_progress_tells_what_is_done_of_how_much() -> None:
    stream = Stream(LinearHead(), True)
    stream.learn()
    told: list[tuple[str, int, int]] = []
    stream.score([Policy("none")], on_progress=lambda *what: told.append(what))
    total = len(stream.data.tasks)
    assert told == [(FEATURES, total, total), (SAMPLES, 5, 9), (SAMPLES, 9, 9)]


def test_the_python_api_reads_kept_features_for_its_scores(tmp_path: Path) -> None:
    model = classifier(NCM(), 2, feature_cache=tmp_path)
    first = model.evaluate(held_out(range(2)))
    seen = counted(model.learner.network.backbone)
    again = ContinualClassifier(model.learner.network.backbone, NCM(), device="cpu", feature_cache=tmp_path)
    again.knowledge = model.knowledge
    assert again.evaluate(held_out(range(2))) == first
    assert max(seen.values()) == 4  # a few are computed again on reading, to see that the file is right
