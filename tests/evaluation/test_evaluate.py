"""evaluate against the obvious loop: one sample at a time, groups that stop at the end of each test set."""

from dataclasses import dataclass, replace

import pytest
import torch

from softtf.backbones.features import FixedQueries
from softtf.classifier import ContinualClassifier
from softtf.evaluation.evaluate import chunks, evaluate
from softtf.evaluation.test_data import TestData
from softtf.inference import INFERENCES
from softtf.inference.policy import Policy
from softtf.inference.pooling import Pooling
from softtf.learners import DualPrompt, LinearHead
from softtf.learners.class_table import ClassTable
from softtf.network import SharedPass
from softtf.seeds import derive_seed
from support.tiny import SOFT_TF, held_out, learned

POLICIES = (
    [Policy("oracle")]
    + [
        Policy(name, Pooling(group, shots))
        for name in ("prompt-id", "gradient-id")
        for group, shots in ((1, None), (2, None), (4, None), (5, 2), (7, None))
    ]
    + [Policy("gradient-id", answer="own"), Policy("prompt-id", Pooling(4, 1), "own")]
)


def data_of(model: ContinualClassifier, tasks: int = 3, batch_size: int = 7) -> TestData:
    """The stream's test sets, also those of tasks that the model has not learned yet."""
    tests = held_out(range(tasks))
    table = ClassTable()
    for index, test in enumerate(tests):
        table.add(test.classes, f"task {index + 1}")
    return TestData.of(tests, table, model.learner.network.backbone, batch_size)


@dataclass(frozen=True)
class Facts:
    """What each sample says on its own, found one sample at a time: scores[name][i], logits[i][task]."""

    scores: dict[str, list[torch.Tensor]]
    logits: list[list[list[float]]]


@torch.no_grad()
def facts_of(model: ContinualClassifier, data: TestData) -> Facts:
    learner = model.learner
    facts = Facts({name: [] for name in learner.task_inferences}, [])
    with learner.computing_in(torch.float64):
        for i in range(len(data.tasks)):
            shared = SharedPass(learner.network, data.loader.inputs([i]))
            for name, scores in facts.scores.items():
                scores.append(INFERENCES[name]().scores(learner, shared)[0])
            facts.logits.append([learner.logits(shared.trunk, t)[0].tolist() for t in range(model.num_tasks)])
    return facts


def slow(
    model: ContinualClassifier, data: TestData, facts: Facts, policy: Policy, shuffle_seed: int | None = None
) -> list[list[int]]:
    """[right answers, right tasks, samples] per test set."""
    order = [i for i in range(len(data.tasks)) if data.tasks[i] < model.num_tasks]
    if shuffle_seed is not None:
        seed = derive_seed(shuffle_seed, "shuffle-test")
        order = [order[i] for i in torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))]
    columns = model.classes.column_labels().tolist()
    owner = [t for t, classes in enumerate(model.classes.tasks) for _ in classes]
    groups: list[list[int]] = []
    for i in order:
        last = groups[-1] if groups else []
        same_set = shuffle_seed is not None or (last and data.tasks[last[0]] == data.tasks[i])
        if last and len(last) < policy.pooling.group and same_set:
            last.append(i)
        else:
            groups.append([i])
    counts = [[0] * model.num_tasks for _ in range(3)]
    for group in groups:
        said = facts.scores.get(policy.inference)
        evidence = [said[i] for i in group[: policy.pooling.shots]] if said else []
        for i in group:
            own = int(data.tasks[i])
            task = int(sum(evidence).argmax()) if evidence else own
            logits = facts.logits[i][task]
            restricted = policy.answer == "own" or policy.inference == "oracle"
            places = [c for c in range(len(logits)) if not restricted or owner[c] == task]
            best = max(places, key=lambda c: logits[c])
            named = owner[best] if policy.inference == "none" else task
            counts[0][own] += columns[best] == int(data.labels[i])
            counts[1][own] += named == own
            counts[2][own] += 1
    return counts


def test_counts_equal_the_slow_loop_for_every_policy() -> None:
    model = learned(SOFT_TF)
    data = data_of(model)
    facts = facts_of(model, data)
    for batch_size in (3, 120):
        for shuffle_seed in (None, 0):
            found = evaluate(
                model.learner, data, model.classes.column_labels(), POLICIES,
                batch_size=batch_size, dtype=torch.float64, shuffle_seed=shuffle_seed,
            )  # fmt: skip
            assert list(found) == POLICIES
            for policy, score in found.items():
                expected = slow(model, data, facts, policy, shuffle_seed)
                assert [score.correct, score.task_correct, score.total] == expected, policy
            assert len({tuple(s.correct) for s in found.values()}) > 2


def test_only_the_tasks_learned_are_scored_and_on_their_own_classes() -> None:
    model = learned(SOFT_TF, 2)
    data = data_of(model, tasks=3)
    facts = facts_of(model, data)
    found = evaluate(model.learner, data, model.classes.column_labels(), POLICIES[:3], dtype=torch.float64)
    for policy, score in found.items():
        assert [score.correct, score.task_correct, score.total] == slow(model, data, facts, policy)
        assert len(score.total) == 2


def test_where_no_task_is_needed_the_named_class_names_the_task() -> None:
    model = learned(LinearHead())
    data = data_of(model)
    facts = facts_of(model, data)
    policies = [Policy("none"), Policy("oracle")]
    found = evaluate(model.learner, data, model.classes.column_labels(), policies, dtype=torch.float64)
    for policy, score in found.items():
        assert [score.correct, score.task_correct, score.total] == slow(model, data, facts, policy)


def with_queries(model: ContinualClassifier, data: TestData) -> tuple[TestData, FixedQueries]:
    queries = FixedQueries(model.learner.network.backbone, data.loader)
    return replace(data, queries=queries), queries


@pytest.mark.parametrize("shuffle_seed", [None, 3])
@pytest.mark.parametrize("tasks", [2, 3])
def test_kept_queries_change_no_count(tasks: int, shuffle_seed: int | None) -> None:
    model = learned(SOFT_TF, tasks)
    data = data_of(model)
    options = {"batch_size": 5, "dtype": torch.float64, "shuffle_seed": shuffle_seed}
    columns = model.classes.column_labels()
    fresh = evaluate(model.learner, data, columns, POLICIES, **options)
    kept = evaluate(model.learner, with_queries(model, data)[0], columns, POLICIES, **options)
    for policy in POLICIES:
        assert replace(kept[policy], seconds=0, from_nothing=0) == replace(fresh[policy], seconds=0, from_nothing=0)


def test_kept_queries_are_asked_for_only_if_a_policy_reads_them() -> None:
    model = learned(SOFT_TF)
    data, queries = with_queries(model, data_of(model))
    columns = model.classes.column_labels()
    evaluate(model.learner, data, columns, [Policy("gradient-id"), Policy("oracle")])
    assert not queries._known
    evaluate(model.learner, data, columns, [Policy("prompt-id")])
    assert len(queries._known) == 1


def test_the_seconds_of_a_policy_from_nothing_count_the_queries_that_were_kept() -> None:
    for spec, share in ((SOFT_TF, 1.0), (DualPrompt("none", 5, (3, 4), 5), 0.5)):  # the stem is run anyway
        model = learned(spec, 2)
        data, queries = with_queries(model, data_of(model))
        with model.learner.computing_in(torch.float32):
            known = queries.get()
        queries._known[torch.float32] = replace(known, seconds=1000.0 * len(data.tasks))
        policies = [Policy("prompt-id"), Policy("prompt-id", Pooling(4)), Policy("gradient-id"), Policy("oracle")]
        scores = evaluate(model.learner, data, model.classes.column_labels(), policies, batch_size=5)
        samples = sum(scores[policies[0]].total)
        assert samples < len(data.tasks)
        for policy in policies[:2]:
            assert scores[policy].from_nothing == pytest.approx(1000 * share * samples, rel=0.01)
            assert 0 < scores[policy].seconds < 100
        for policy in policies[2:]:
            assert 0 < scores[policy].seconds == scores[policy].from_nothing < 100


def test_means_over_test_sets_and_over_samples() -> None:
    model = learned(SOFT_TF)
    score = evaluate(model.learner, data_of(model), model.classes.column_labels(), POLICIES)[POLICIES[1]]
    acc = sum(c / n for c, n in zip(score.correct, score.total, strict=True)) / 3 * 100
    assert score.acc == pytest.approx(acc)
    assert score.pooled == pytest.approx(100 * sum(score.correct) / sum(score.total))
    assert score.task_identity == pytest.approx(100 * sum(score.task_correct) / sum(score.total))
    assert score.seconds > 0


@pytest.mark.parametrize("group", [1, 2, 3, 24])
@pytest.mark.parametrize("batch_size", [1, 5, 120])
def test_chunks_hold_whole_groups_of_one_segment(group: int, batch_size: int) -> None:
    segments = torch.tensor([0] * 7 + [1] + [2] * 50)
    parts = chunks(segments, group, batch_size)
    assert torch.cat(parts).tolist() == list(range(58))
    for part in parts:
        assert len(segments[part].unique()) == 1
        start = int((segments == segments[part[0]]).nonzero()[0])
        assert (int(part[0]) - start) % group == 0
        assert len(part) <= max(batch_size, group)


def test_column_tasks_name_each_columns_task() -> None:
    assert learned(LinearHead()).learner.column_tasks().tolist() == [0] * 3 + [1] * 2 + [2] * 4
