"""Policies: as text, as titles, and what they choose, against the obvious loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softtf.config.names import PAPER_BATCH
from softtf.errors import UserError
from softtf.inference import INFERENCES
from softtf.inference.policy import Answer, Policy, parse_policy
from softtf.inference.pooling import Pooling, rank_in_group
from softtf.inference.predict import shortest_first, whole_groups

NAMES = sorted(name for name, kind in INFERENCES.items() if kind.pools)
ALONE = ["none", "oracle"]
WEIGHED = ["feature-id", "mcg"]
SUMMED = st.one_of(
    st.builds(Pooling, st.integers(1, 300)),
    st.integers(1, 40).flatmap(lambda group: st.builds(Pooling, st.just(group), st.integers(1, group))),
)
VOTED = st.builds(Pooling, st.integers(2, 300), vote=st.just(True))
POLICIES = st.one_of(
    st.builds(Policy, st.sampled_from(ALONE)),
    st.builds(Policy, st.sampled_from(NAMES), SUMMED | VOTED, st.sampled_from(["any", "own"])),
    st.builds(Policy, st.sampled_from(WEIGHED), SUMMED, st.just("joint")),
)


@given(POLICIES)
def test_a_policys_code_reads_back_as_the_policy(policy: Policy) -> None:
    assert parse_policy(policy.code) == policy
    assert parse_policy(f"  {policy.code.upper()} ") == policy


def test_different_policies_have_different_titles_and_codes() -> None:
    policies = [*map(Policy, ALONE)]
    shapes = [(g, s) for g in (1, 7, 24) for s in (None, 1, 3) if s is None or s <= g > 1]
    both: list[Answer] = ["any", "own"]
    policies += [Policy(n, Pooling(g, s), answer) for n in NAMES for g, s in shapes for answer in both]
    policies += [Policy(n, Pooling(g, s), "joint") for n in WEIGHED for g, s in shapes]
    policies += [Policy(n, Pooling(24, vote=True), answer) for n in NAMES for answer in both]
    assert len({p.title() for p in policies}) == len({p.code for p in policies}) == len(policies)
    assert all("per-sample" in p.title() for p in policies if p.pooling.group == 1 and p.inference != "oracle")
    assert all("same-task batch" in p.title() for p in policies if p.pooling.group > 1)
    assert all("same-task" not in p.title(shuffled=True) for p in policies)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("gradient-id", Policy("gradient-id")),
        ("gradient-id:per-sample", Policy("gradient-id")),
        ("prompt-id:batch24", Policy("prompt-id", Pooling(24))),
        ("prompt-id:batch(24)", Policy("prompt-id", Pooling(24))),
        ("prompt-id:batch 24", Policy("prompt-id", Pooling(24))),
        ("prompt-id:vote24", Policy("prompt-id", Pooling(24, vote=True))),
        ("prompt-id:vote(7):own", Policy("prompt-id", Pooling(7, vote=True), "own")),
        ("prompt-id:vote1", Policy("prompt-id")),
        ("gradient-id:3-shot", Policy("gradient-id", Pooling(PAPER_BATCH, 3))),
        ("gradient-id:3-shot/7", Policy("gradient-id", Pooling(7, 3))),
        ("gradient-id:own", Policy("gradient-id", answer="own")),
        ("gradient-id:per-sample:own", Policy("gradient-id", answer="own")),
        ("gradient-id:batch7:own", Policy("gradient-id", Pooling(7), "own")),
        ("gradient-id:3-shot/7:own", Policy("gradient-id", Pooling(7, 3), "own")),
        ("feature-id:joint", Policy("feature-id", answer="joint")),
        ("mcg:batch7:joint", Policy("mcg", Pooling(7), "joint")),
        ("mcg:3-shot/7:joint", Policy("mcg", Pooling(7, 3), "joint")),
        ("oracle", Policy("oracle")),
    ],
)
def test_forms(text: str, policy: Policy) -> None:
    assert parse_policy(text) == policy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gradiant-id", ("'gradiant-id'", "did you mean", "'gradient-id'")),
        ("", ("unknown policy",)),
        ("prompt-id:batch", ("not understood",)),
        ("prompt-id:batch0", ("not understood",)),
        ("prompt-id:batch-3", ("not understood",)),
        ("prompt-id:0-shot", ("not understood",)),
        ("prompt-id:5-shot/3", ("not understood",)),
        ("prompt-id:3-shots", ("not understood",)),
        ("prompt-id:own:batch3", ("not understood",)),
        ("prompt-id:batch3:batch3", ("not understood",)),
        ("prompt-id:own:own", ("not understood",)),
        ("prompt-id:joint", ("'prompt-id:joint'", ":joint goes with feature-id, mcg", "set log_probabilities = True")),
        ("mcg:own:joint", ("not understood",)),
        ("mcg:vote24:joint", ("a vote", "names one task")),
        ("mcg:joint:own", ("not understood",)),
        ("none:joint", ("pools nothing",)),
        ("oracle:own", ("pools nothing", "'oracle'")),
        ("oracle:batch24", ("pools nothing", "'oracle'")),
    ],
)
def test_errors(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        parse_policy(text)
    assert all(word in str(caught.value) for word in words)


def slow_choice(policy: Policy, scores: list[list[float]], groups: list[int]) -> list[int]:
    answers = []
    for group in groups:
        members = [row for row, g in zip(scores, groups, strict=True) if g == group]
        members = members[: policy.pooling.shots]
        pooled = [sum(row[t] for row in members) for t in range(len(scores[0]))]
        votes = [row.index(max(row)) for row in members] if policy.pooling.vote else []
        answers.append(max(range(len(pooled)), key=lambda t: (votes.count(t), pooled[t], -t)))
    return answers


@settings(deadline=None)
@given(st.data())
def test_choices_equal_the_obvious_loop(data: st.DataObject) -> None:
    n, tasks = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    row = st.lists(st.integers(-50, 50).map(lambda x: x / 8), min_size=tasks, max_size=tasks)
    scores = data.draw(st.lists(row, min_size=n, max_size=n))
    groups = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))  # interleaved, with gaps
    shots = data.draw(st.one_of(st.none(), st.integers(1, 5)))
    policy = Policy("prompt-id", Pooling(5, shots, vote=shots is None and data.draw(st.booleans())))
    found = policy.weights(torch.tensor(scores), torch.tensor(groups)).argmax(1)
    assert found.tolist() == slow_choice(policy, scores, groups)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_ranks_count_earlier_members(groups: list[int]) -> None:
    assert rank_in_group(torch.tensor(groups)).tolist() == [groups[:i].count(g) for i, g in enumerate(groups)]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 10))
def test_runs_hold_whole_groups_and_as_many_as_fit(groups: list[int], batch_size: int) -> None:
    runs = [run.tolist() for run in whole_groups(torch.tensor(groups), batch_size)]
    assert sorted(i for run in runs for i in run) == list(range(len(groups)))
    held = [[groups[i] for i in run] for run in runs]
    for run, members in zip(runs, held, strict=True):
        assert len(run) <= batch_size or len(set(members)) == 1
        assert len(run) == sum(groups.count(g) for g in set(members))
        assert all(i < j for i, j in zip(run, run[1:], strict=False) if groups[i] == groups[j])
    for members, after in zip(held, held[1:], strict=False):
        assert len(members) + groups.count(after[0]) > batch_size


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=30))
def test_groups_dealt_by_length_are_the_same_groups_and_their_longest_ascend(rows: list[tuple[int, int]]) -> None:
    groups, lengths = (torch.tensor(column) for column in zip(*rows, strict=True))
    dealt = shortest_first(groups, lengths)
    assert torch.equal(dealt[:, None] == dealt, groups[:, None] == groups)
    longest = [max(n for d, n in zip(dealt.tolist(), lengths.tolist(), strict=True) if d == g) for g in dealt.unique()]
    assert longest == sorted(longest)


def test_alone_in_its_group_a_sample_decides_for_itself() -> None:
    scores = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    assert Policy("prompt-id").weights(scores, torch.tensor([0, 1])).argmax(1).tolist() == [1, 0]
    assert Policy("prompt-id", Pooling(2)).weights(scores, torch.tensor([0, 0])).argmax(1).tolist() == [0, 0]
    assert Policy("prompt-id", Pooling(2, 1)).weights(scores, torch.tensor([0, 0])).argmax(1).tolist() == [1, 1]


@pytest.mark.parametrize("text", ["prompt-id:batch{}", "prompt-id:vote{}", "prompt-id:{}-shot", "prompt-id:1-shot/{}"])
def test_numbers_of_thousands_of_digits_are_no_policy(text: str) -> None:
    with pytest.raises(UserError):
        parse_policy(text.format("9" * 5000))
