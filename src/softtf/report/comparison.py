"""Several runs side by side: mean and deviation over seeds, and the settings in which they differ."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from softtf.config.dotted import flat
from softtf.config.tree import to_dict
from softtf.evaluation.metrics import METRICS, summary
from softtf.evaluation.report import parameters
from softtf.report.found import PolicyResult, RunResult
from softtf.runs.config import ELSEWHERE
from softtf.statistics import STATISTIC_KINDS

Values = tuple[float | None, ...]


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed, under one policy.

    Attributes:
        runs: one per seed.
        policy: the policy's title.
        about: the settings in which these runs differ from others of their method, such as `train.epochs=3`.
        values: each metric's value in each run, by name.
        parameters: trained in the last task.
        train_seconds: of all tasks, from nothing.
        test_seconds: of all evaluations, from nothing.
        evidence: what an answer may rest on (`PolicyResult.evidence`).
    """

    runs: tuple[RunResult, ...]
    policy: str
    about: str
    values: Mapping[str, Values]
    parameters: Values
    train_seconds: Values
    test_seconds: Values
    is_oracle: bool
    is_per_sample: bool
    evidence: str

    @property
    def acc(self) -> float:
        """The mean ACC over seeds."""
        return mean(value for value in self.values["acc"] if value is not None)

    @property
    def data(self) -> str:
        """What tells the data from those of other runs, whatever seed orders them; rivals have the same."""
        settings = flat_settings(self.runs[0].config)
        names = [name for name in settings if name.startswith("stream.") and not name.endswith("_seed")]
        return repr((self.runs[0].evaluated, *((name, settings[name]) for name in names)))

    @property
    def stream(self) -> str:
        """The stream for readers: its recipe, tasks and test samples."""
        run = self.runs[0]
        rows = sum(run.headline.matrix.total)
        return f"{run.config.recipe}, {run.evaluated} tasks, {rows:,} test samples"

    @property
    def method(self) -> str:
        """The title of the method, and what tells these runs from others of it."""
        return f"{self.runs[0].method} ({self.about})" if self.about else self.runs[0].method

    @property
    def seeds(self) -> str:
        """The seeds, in the order of the runs."""
        return " ".join(str(run.config.seed) for run in self.runs)

    @property
    def is_headline(self) -> bool:
        """Whether the policy is the headline of its runs (`RunResult.headline`)."""
        return self.runs[0].headline.title == self.policy


def groups_of(runs: Sequence[RunResult]) -> list[Group]:
    """Return one group for each method, settings and policy, in the order of the runs."""
    members: dict[tuple[str, ...], list[tuple[RunResult, PolicyResult]]] = {}
    for run in runs:
        for policy in run.policies:
            compared = repr(_compared(run, policy))
            key = (run.method, policy.title, run.span, run.weights, str(run.evaluated), str(run.finished), compared)
            members.setdefault(key, []).append((run, policy))
    return [_group(found, _about(*found[0], runs)) for found in members.values()]


def _group(members: Sequence[tuple[RunResult, PolicyResult]], about: str) -> Group:
    runs = tuple(run for run, _ in members)
    metrics = [summary(policy.matrix) for _, policy in members]
    return Group(
        runs,
        members[0][1].title,
        about,
        {name: tuple(found[name] for found in metrics) for name in METRICS},
        tuple(run.parameters for run in runs),
        tuple(run.train_seconds for run in runs),
        tuple(policy.test_seconds for _, policy in members),
        members[0][1].is_oracle,
        members[0][1].is_per_sample,
        members[0][1].evidence,
    )


def flat_settings(config: Any) -> dict[str, Any]:
    """Return settings by their dotted names; a path is shortened to its last name."""
    return {name: without_folder(value) for name, value in flat(to_dict(config)).items()}


def without_folder(value: Any) -> Any:
    """Return a setting without the folders of this machine, which are private."""
    return f"…/{Path(value).name}" if isinstance(value, str) and os.path.isabs(value) else value


def _compared(run: RunResult, policy: PolicyResult) -> dict[str, Any]:
    """Return what two runs must have in common to be runs of one method that differ only in the seed.

    Statistics that are gathered for one task inference count only under its policies.
    """
    inference = policy.code.partition(":")[0]
    others = {
        f"learner.{name}" for kind in STATISTIC_KINDS.values() if kind.name != inference for name in kind.settings()
    }
    left_out = {*ELSEWHERE, *others, "evaluate.policies", "evaluate.batch_size"}
    return {name: value for name, value in flat_settings(run.config).items() if name not in left_out}


def differences(runs: Sequence[RunResult]) -> dict[str, list[str]]:
    """Return the settings in which runs differ, by name: the value in each run; a dash if a run lacks the setting."""
    return _unequal([flat_settings(run.config) for run in runs])


def _unequal(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for found in settings for name in found)
    values = {name: [shown(found[name]) if name in found else "–" for found in settings] for name in names}
    return {name: found for name, found in values.items() if len(set(found)) > 1}


def _about(run: RunResult, policy: PolicyResult, runs: Sequence[RunResult]) -> str:
    """Return what tells a run from others of its method under one policy; empty if nothing does."""
    mine = _compared(run, policy)
    alike = [(r, p) for r in runs for p in r.policies if (r.method, p.title) == (run.method, policy.title)]
    said = [f"{name}={shown(mine[name])}" for name in _unequal([_compared(*pair) for pair in alike]) if name in mine]
    if not run.finished:
        said.append(f"not finished, {run.evaluated} tasks")
    elif len({other.evaluated for other in runs}) > 1:
        said.append(f"{run.evaluated} tasks")
    return ", ".join(said)


def shown(value: Any) -> str:
    """Return a setting as text."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def over_seeds(values: Values, decimals: int = 1) -> str:
    """Return the mean ± the standard deviation (of a sample, n − 1); a dash if a run has no value."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return "–"
    spread = f" ± {stdev(known):.{decimals}f}" if len(known) > 1 else ""
    return f"{mean(known):.{decimals}f}{spread}".replace("-", "−")


HEADERS = ("Method", "Task inference (policy)", "Loss over", "Seeds", "Weights")
WEIGHTS = HEADERS.index("Weights")
COSTS = ("Params/task", "Train s, from nothing", "Test s, from nothing")


def table(groups: Sequence[Group], metrics: Sequence[str] | None = None) -> tuple[list[str], list[list[str]]]:
    """Return headers and cells: method, policy, loss, seeds and weights, then metrics (None: all) and costs."""
    metrics = list(METRICS) if metrics is None else metrics
    body = []
    for group in groups:
        first, trained = group.runs[0], group.parameters[0]
        costs = ["–" if trained is None else parameters(int(trained))]
        costs += [over_seeds(group.train_seconds), over_seeds(group.test_seconds)]
        texts = [group.method, group.policy, first.span, group.seeds, first.weights]
        body.append([*texts, *(over_seeds(group.values[name]) for name in metrics), *costs])
    return [*HEADERS, *(METRICS[name].title for name in metrics), *COSTS], body


def to_csv(groups: Sequence[Group]) -> str:
    """Return the groups as CSV; each metric and cost has two columns, for its mean and standard deviation."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = [*METRICS, "parameters_per_task", "train_seconds_from_nothing", "test_seconds_from_nothing"]
    ends = [f"{name}{end}" for name in numbers for end in ("", "_std")]
    writer.writerow(["method", "settings", "policy", "classes", "runs", "seeds", *ends, "weights"])
    for group in groups:
        first = group.runs[0]
        columns = [*group.values.values(), group.parameters, group.train_seconds, group.test_seconds]
        cells = [text for values in columns for text in _mean_and_deviation(values)]
        about = [first.method, group.about, group.policy, first.span, len(group.runs), group.seeds]
        writer.writerow([*about, *cells, first.weights])
    return text.getvalue()


def _mean_and_deviation(values: Values) -> list[str]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ["", ""]
    return [f"{mean(known):.4f}", f"{stdev(known):.4f}" if len(known) > 1 else ""]
