"""A run's seconds: those that passed, and those that it would take without results of earlier work.

Such results are features of the frozen backbone, which this or another run wrote, and what scoring keeps in memory.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Seconds:
    """Sums over a run.

    train: that passed in all tasks' training; train_from_nothing: with what earlier runs took for the features it read;
    test, test_from_nothing: by policy code, what each policy alone took in all evaluations; evaluation: that passed in
    these, with all policies at once.
    """

    train: float
    train_from_nothing: float
    test: dict[str, float]
    test_from_nothing: dict[str, float]
    evaluation: float


def seconds_of(events: Sequence[Mapping[str, Any]]) -> Seconds:
    """Add up a run's log. Lines of earlier versions have one time, which counts for both."""
    training = [e for e in events if e["event"] in ("epoch", "consolidation")]
    scoring = [e for e in events if e["event"] == "evaluation"]
    train = sum(e["seconds"] for e in training)
    test, nothing = Counter[str](), Counter[str]()
    for event in scoring:
        test.update(event["seconds"])
        nothing.update(event.get("from_nothing", event["seconds"]))
    evaluation = sum(e.get("wall", 0.0) for e in scoring)
    return Seconds(train, train + sum(e.get("kept", 0.0) for e in training), dict(test), dict(nothing), evaluation)


def upgraded(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's summary with today's names of seconds; earlier versions had only those from nothing."""
    if "train_seconds" not in results:
        return dict(results)
    train = {"train_seconds_this_run": None, "train_seconds_from_nothing": results["train_seconds"]}
    policies = {
        code: {**policy, "test_seconds_this_run": None, "test_seconds_from_nothing": policy["test_seconds"]}
        for code, policy in results["policies"].items()
    }
    return {**results, **train, "policies": policies}
