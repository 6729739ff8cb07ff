"""The part of a page about one run: what it was, what it found, what it cost, and where it fails."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from softtf.config.yaml import dump_yaml
from softtf.errors import UserError, visible
from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.evaluation.metrics import METRICS, summary
from softtf.evaluation.report import parameters
from softtf.files.plain_json import fits, read_object
from softtf.learners.spans import NO_SPAN
from softtf.report.blocks import Block, Chart, Code, Columns, Fold, Grid, Links, Note, Section
from softtf.report.charts import bars_and_marks, heat_map, lines, stacked_bars
from softtf.report.comparison import flat_settings, shown
from softtf.report.costs import task_costs
from softtf.report.found import PolicyResult, RunResult
from softtf.report.inputs import TestInputs
from softtf.report.samples_page import of_samples
from softtf.runs.unknown import read_unknown

MOST_POLICIES = 4  # of one run that are drawn; the table has all
FILES = ("config.yaml", "summary.json", "accuracy.json", "environment.json", "data.json", "events.jsonl")
FOLDERS = ("accuracy", "predictions", "rescored", "learner")


def run_section(run: RunResult, number: int, inputs: TestInputs, page: Path, alone: bool) -> Section:
    """Return everything about a run.

    Args:
        run: what it found.
        number: its place on the page, from 1.
        inputs: its test samples.
        page: the page's file, from which links lead to the run's files.
        alone: whether it is the page's only run; otherwise only its headline has its confusions and answers shown.
    """
    blocks: list[Block] = [Note(_about(run)), _summary(run), _curves(run, number)]
    headline_first = sorted(run.policies[:MOST_POLICIES], key=lambda policy: policy is not run.headline)
    for place, policy in enumerate(headline_first):
        name = f"r{number}p{place}"
        found = _of_policy(run, policy, name, inputs) if alone or place == 0 else [_accuracies(run, policy, name)]
        blocks += found if place == 0 else [Fold(f"{policy.title}: {_scored(policy)}", found)]
    blocks += [*_unknown(run), _costs(run, number), _settings(run), _environment(run), _files(run, page)]
    return Section(f"run-{number}", visible(run.label), blocks)


def _about(run: RunResult) -> str:
    state = "finished" if run.finished else f"not finished: evaluated after task {run.evaluated}"
    rows = sum(run.headline.matrix.total)
    classes = len(run.classes.labels)
    said = (
        f"{run.config.recipe}, {run.evaluated} tasks, {classes} classes, {rows:,} test samples; backbone {run.weights};"
        f" {'no cross-entropy' if run.span == NO_SPAN else f'loss over {run.span}'}; seed {run.config.seed}; {state}."
    )
    trained = "" if run.parameters is None else f" {parameters(run.parameters)} parameters trained in the last task."
    return visible(f"{said}{trained} Policy of the charts below, unless they say otherwise: {run.headline.title}.")


def _scored(policy: PolicyResult) -> str:
    return f"ACC {policy.matrix.acc:.2f}, Forget {policy.matrix.forget:.2f}"


def number(value: float | None, decimals: int = 2) -> str:
    """Return a number as text; a dash for none."""
    return "–" if value is None else f"{value:,.{decimals}f}".replace("-", "−")


def _summary(run: RunResult) -> Grid:
    headers = ["Task inference (policy)", *(found.title for found in METRICS.values()), "Test s, from nothing"]
    rows = []
    for policy in run.policies:
        values = summary(policy.matrix)
        rows.append([visible(policy.title), *(number(values[n]) for n in METRICS), number(policy.test_seconds, 1)])
    return Grid(
        "Summary: percent, one row per policy; ACC is the mean accuracy after the last task", headers, rows, 1, True
    )


def _truncated(matrix: AccuracyMatrix, tasks: int) -> AccuracyMatrix:
    return AccuracyMatrix(matrix.correct[:tasks], matrix.total[:tasks])


def _curves(run: RunResult, place: int) -> Columns:
    """Return charts of average accuracy and forgetting after each task, under the first policies and the oracle."""
    chosen = [*run.policies[:3], *([run.oracle] if run.oracle and run.oracle not in run.policies[:3] else [])]
    parts = {p.title: [_truncated(p.matrix, t + 1) for t in range(run.evaluated)] for p in chosen}
    averages = {title: [matrix.acc for matrix in found] for title, found in parts.items()}
    forgets = {title: [matrix.forget for matrix in found] for title, found in parts.items()}
    charts: list[Block] = []
    for what, series, key in (("Average accuracy", averages, "a"), ("Forgetting", forgets, "f")):
        rows = [[visible(title), *map(number, values)] for title, values in series.items()]
        numbers = Grid(f"{what} after each task, percent, by policy", ["Policy", *_tasks(run)], rows)
        svg = lines(series, "after task", f"{what.lower()}, %", f"r{place}{key}")
        charts.append(Chart(svg, f"{what} on the tasks seen so far, by policy", numbers))
    return Columns(charts)


def _tasks(run: RunResult) -> list[str]:
    return [str(task + 1) for task in range(run.evaluated)]


def _of_policy(run: RunResult, policy: PolicyResult, name: str, inputs: TestInputs) -> list[Block]:
    """Return the charts of a policy: those of its counts and, if there are any, of its answers."""
    blocks: list[Block] = [_accuracies(run, policy, name)]
    try:
        samples = run.samples(policy)
    except UserError as error:
        return [*blocks, Note(visible(f"No confusions and no single answers are shown: {error}."))]
    if samples is None:
        command = f"softtf evaluate {run.path.name} --policy {policy.code} --last"
        said = f"No confusions are shown: the run has no file of answers under {policy.title}. `{command}` makes it."
        return [*blocks, Note(visible(said))]
    return blocks + of_samples(run, policy, samples, inputs, name)


def _accuracies(run: RunResult, policy: PolicyResult, name: str) -> Columns:
    """Return the charts of a policy's counts."""
    return Columns([_heat(run, policy, name), _bars(run, policy, name)])


def _heat(run: RunResult, policy: PolicyResult, name: str) -> Chart:
    a = policy.matrix.a
    rows = [
        [visible(run.task_name(i)), *("" if value != value else f"{value:.2f}" for value in row)]
        for i, row in enumerate(a)
    ]
    title = f"Accuracy matrix a[i,t]: task i (row) after learning task t (column), percent; {policy.title}"
    numbers = Grid(visible(title), ["Task", *(f"after {t}" for t in _tasks(run))], rows)
    return Chart(heat_map(a, "after task t", "task i", f"{name}h"), visible(title), numbers)


def _bars(run: RunResult, policy: PolicyResult, name: str) -> Chart:
    last = policy.matrix.a[:, -1].tolist()
    given = None if run.oracle is None or policy.is_oracle else run.oracle.matrix.a[:, -1].tolist()
    ceiling = "" if given is None else "; the mark is the ceiling, with the task given"
    title = visible(f"Accuracy of each task after the last one, {policy.title}{ceiling}")
    marks = [""] * len(last) if given is None else [number(value) for value in given]
    rows = [[visible(run.task_name(i)), number(value), marks[i]] for i, value in enumerate(last)]
    headers = ["Task", f"{policy.title}, %", "Task given, %"]
    used = 3 if given is not None else 2
    numbers = Grid(title, headers[:used], [row[:used] for row in rows], 1, True)
    return Chart(bars_and_marks(last, given, ("this policy", "task given"), f"{name}b"), title, numbers)


def _unknown(run: RunResult) -> list[Block]:
    """Return how well unknown inputs are told, if `softtf evaluate --unknown` measured it."""
    for rate, scores in filter(None, map(read_unknown, run.folder.rescored())):
        rows = [[str(s.tasks), *map(number, (s.auroc, s.known_rejected, s.unknown_rejected))] for s in scores]
        headers = ["After task", "AUROC", "Rejected of known, %", "Rejected of unknown, %"]
        asked = f"{100 * rate:g} % of known ones may be rejected"
        return [Grid(f"Unknown inputs: test samples of the tasks to come, percent; {asked}", headers, rows, 1)]
    return []


def _costs(run: RunResult, place: int) -> Block:
    costs = task_costs(run)
    headers = ["Task", "Train s, this run", "Train s, from nothing", "Evaluation s, this run, all policies"]
    headers += ["Own bytes", "Bytes shared, as of then"]
    rows = [
        [
            visible(run.task_name(i)),
            *(number(s, 1) for s in (cost.train_seconds, cost.train_from_nothing, cost.test_seconds)),
            *(f"{size:,}" for size in (cost.own_bytes, cost.shared_bytes)),
        ]
        for i, cost in enumerate(costs)
    ]
    numbers = Grid("Seconds and bytes of each task", headers, rows, 1, True)
    seconds = {"training": [c.train_seconds for c in costs], "evaluation": [c.test_seconds for c in costs]}
    size = {
        "own": [cost.own_bytes / 1e6 for cost in costs],
        "shared, as of then": [cost.shared_bytes / 1e6 for cost in costs],
    }
    title = "Seconds of each task in this run; evaluation under all policies"
    first = Chart(stacked_bars(seconds, "seconds", f"r{place}s"), title, numbers)
    return Columns(
        [first, Chart(stacked_bars(size, "MB", f"r{place}m"), "Bytes of each task on disk (see the same table)")]
    )


def _settings(run: RunResult) -> Fold:
    rows = [[name, visible(shown(value))] for name, value in flat_settings(run.config).items()]
    return Fold(
        "Configuration", [Grid("Every setting; folders of this machine are left out", ["Setting", "Value"], rows, 2)]
    )


def _environment(run: RunResult) -> Block:
    try:
        found = read_object(run.path / "environment.json")
    except UserError:
        return Note("The run has no environment.json that can be read.")
    plain = {str(name): value for name, value in found.items() if fits(value, (str, int, float, None, {str: str}))}
    return Fold("Environment", [Code("Versions and machine", dump_yaml(plain))])


def _files(run: RunResult, page: Path) -> Links:
    """Return links to the files of the run, relative to the page, so that both can be moved together."""
    files = [run.path / name for name in FILES if (run.path / name).is_file()]
    files += [file for name in FOLDERS[:3] for file in sorted((run.path / name).glob("[!.]*"))]
    return Links("Raw files", [(_address(file, page), visible(str(file.relative_to(run.path)))) for file in files])


def _address(file: Path, page: Path) -> str:
    relative = os.path.relpath(file.resolve(), page.resolve().parent)
    return quote(f"./{relative}".replace(os.sep, "/").encode("utf-8", "surrogateescape"))


def titles_of(runs: Sequence[RunResult]) -> str:
    """Return the methods of some runs, each once."""
    return ", ".join(dict.fromkeys(run.method for run in runs))
