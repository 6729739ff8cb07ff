"""The part of a page made from single answers: confusions, reliability, classes, wrong samples."""

import numpy as np

from softtf.errors import visible
from softtf.evaluation.calibration import calibration_error, reliability
from softtf.evaluation.evaluate import Samples
from softtf.report.blocks import Block, Chart, Columns, Fold, Gallery, Grid, Note, Picture
from softtf.report.charts import heat_map, reliability_diagram
from softtf.report.confusion import ClassPair, class_results, confused_classes, task_confusion
from softtf.report.found import PolicyResult, RunResult
from softtf.report.inputs import TestInputs, spread

EXAMPLES = 3  # pictures per pair of classes
WRONG = 96  # pictures to browse


def of_samples(run: RunResult, policy: PolicyResult, samples: Samples, inputs: TestInputs, name: str) -> list[Block]:
    """Return the blocks about the answers under a policy; the names of its charts begin with `name`."""
    charts: list[Block] = [_reliability(policy, samples, name)]
    if policy.is_oracle:
        return [*charts, Fold("Accuracy of each class", [_classes(run, policy, samples)])]
    pairs = confused_classes(samples)
    charts.insert(0, _tasks(run, policy, samples, name))
    return [
        Columns(charts),
        _pairs(run, policy, samples, pairs),
        *_pictures(run, policy, samples, pairs, inputs),
        Fold("Accuracy of each class", [_classes(run, policy, samples)]),
    ]


def _label(run: RunResult, number: int) -> str:
    return visible(str(run.classes.labels[number]))


def _tasks(run: RunResult, policy: PolicyResult, samples: Samples, name: str) -> Chart:
    counts = task_confusion(samples, run.evaluated)
    percent = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    title = visible(f"Which task (row) is taken for which (column), percent of a task's samples; {policy.title}")
    rows = [[visible(run.task_name(i)), *map(str, row)] for i, row in enumerate(counts.tolist())]
    headers = ["Task", *(f"as {t + 1}" for t in range(run.evaluated))]
    numbers = Grid(visible(f"Samples of each task, by the task they were taken for; {policy.title}"), headers, rows)
    return Chart(heat_map(percent, "taken for task", "task", f"{name}t"), title, numbers)


def _reliability(policy: PolicyResult, samples: Samples, name: str) -> Chart:
    bins = reliability(samples.confidence, samples.right)
    error = calibration_error(bins)
    title = visible(f"Reliability: accuracy by confidence; ECE {error:.2f} %; {policy.title}")
    step = 100 // len(bins)
    rows = [
        [f"{i * step} to {(i + 1) * step} %", str(b.count), f"{b.confidence:.2f}", f"{b.accuracy:.2f}"]
        for i, b in enumerate(bins)
        if b is not None
    ]
    numbers = Grid(title, ["Confidence", "Samples", "Mean confidence, %", "Accuracy, %"], rows)
    return Chart(reliability_diagram(bins, f"{name}r"), title, numbers)


def _pairs(run: RunResult, policy: PolicyResult, samples: Samples, pairs: list[ClassPair]) -> Grid:
    totals = np.bincount(samples.label.numpy(), minlength=len(run.classes.labels))
    rows = [
        [
            _label(run, pair.label),
            _label(run, pair.answer),
            str(len(pair.samples)),
            f"{100 * len(pair.samples) / totals[pair.label]:.1f}",
        ]
        for pair in pairs
    ]
    title = visible(f"The {len(pairs)} pairs of classes confused most; {policy.title}")
    return Grid(title, ["Class", "Answered", "Samples", "% of the class"], rows, 2, True)


def _classes(run: RunResult, policy: PolicyResult, samples: Samples) -> Grid:
    tasks: dict[object, list[str]] = {}
    for task, labels in enumerate(run.classes.tasks):
        for label in labels:
            tasks.setdefault(label, []).append(str(task + 1))
    rows = [
        [
            _label(run, found.label),
            " ".join(tasks[run.classes.labels[found.label]]),
            "–" if found.mistaken is None else _label(run, found.mistaken),
            str(found.total),
            f"{100 * found.correct / found.total:.2f}",
        ]
        for found in class_results(samples)
    ]
    title = visible(f"Accuracy of each class; {policy.title}")
    return Grid(title, ["Class", "Task", "Most often answered instead", "Test samples", "Accuracy, %"], rows, 3, True)


def _pictures(
    run: RunResult, policy: PolicyResult, samples: Samples, pairs: list[ClassPair], inputs: TestInputs
) -> list[Block]:
    """Return examples of the pairs, and wrong samples of every task to browse; or a line with the reason."""
    if inputs.examples is None:
        return [Note(visible(f"No test samples are shown: {inputs.reason}."))]

    def picture(index: int) -> Picture:
        uri, text = inputs.shown(index)
        named = f"{_label(run, int(samples.label[index]))} → {_label(run, int(samples.answer[index]))}"
        task = f"task {int(samples.of_task[index]) + 1} → {int(samples.task[index]) + 1}"
        return Picture(uri, visible(text), (named, task, f"confidence {100 * float(samples.confidence[index]):.0f} %"))

    wrong = np.flatnonzero((samples.label != samples.answer).numpy())
    ordered = wrong[np.argsort(-samples.confidence.numpy()[wrong], kind="stable")].tolist()
    chosen = sorted(spread(ordered, samples.of_task.tolist(), WRONG), key=lambda i: int(samples.of_task[i]))
    examples = [picture(i) for pair in pairs for i in pair.samples[:EXAMPLES]]
    browsed: list[Block] = []
    for task in range(run.evaluated):
        mine = [picture(i) for i in chosen if int(samples.of_task[i]) == task]
        if mine:
            title = f"Task {run.task_name(task)}: {len(mine)} of its wrong answers, the surest first"
            browsed.append(Gallery(visible(title), mine))
    title = f"Examples of these pairs, class → answer, the surest first; {policy.title}"
    count = f"{len(wrong):,} of {len(samples.label):,} answers are wrong"
    return [
        Fold("Test samples of the confused pairs", [Gallery(visible(title), examples)]),
        Fold(f"Wrong answers to browse: {count}", browsed),
    ]
