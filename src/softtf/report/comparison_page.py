"""The part of a page that compares runs; it comes first."""

from collections.abc import Sequence
from statistics import mean

from softtf.errors import visible
from softtf.evaluation.report import differ, with_weights
from softtf.report.blocks import Block, Chart, Columns, Grid, Note, Section
from softtf.report.charts import lines, points
from softtf.report.comparison import WEIGHTS, Group, differences, groups_of, table
from softtf.report.found import RunResult

MOST = 12  # groups on a chart


def comparison_section(runs: Sequence[RunResult]) -> Section:
    """Return the comparison of several runs."""
    groups = groups_of(runs)
    blocks: list[Block] = [
        Note(
            "Runs that differ only in the seed are one row: mean ± standard deviation over seeds. Each row names its"
            " policy; compare only rows under the same policy. “Seeds” lists them. A click on a header sorts."
        ),
        _table(groups),
        Columns([cost_chart(groups), _curves(groups)]),
        _differences(runs),
    ]
    return Section("comparison", "Comparison", blocks)


def _table(groups: Sequence[Group]) -> Grid:
    ordered = sorted(groups, key=lambda group: (group.is_oracle, not group.is_per_sample))
    headers, body = table(ordered)
    rivals = [group for group in ordered if group.is_per_sample]
    best = max(rivals, key=lambda group: mean(_known(group.values["acc"])), default=None)
    title = "All methods and policies, percent; the highest ACC per sample is marked"
    if not differ([row[WEIGHTS] for row in body]):
        title = with_weights(title, [row[WEIGHTS] for row in body])
        headers, body = [*headers[:WEIGHTS], *headers[WEIGHTS + 1 :]], [[*r[:WEIGHTS], *r[WEIGHTS + 1 :]] for r in body]
    told = headers[2 : headers.index("ACC %")]  # what is read last: on a phone the first columns are seen
    order = [0, 1, *range(2 + len(told), len(headers)), *range(2, 2 + len(told))]
    headers, body = [headers[i] for i in order], [[visible(row[i]) for i in order] for row in body]
    marked = frozenset() if best is None else frozenset({(ordered.index(best), headers.index("ACC %"))})
    return Grid(visible(title), headers, body, 2, True, marked)


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def cost_chart(groups: Sequence[Group]) -> Block:
    """Return a chart of seconds against ACC: training and testing from nothing, under each per-sample policy."""
    rows: list[list[str]] = []
    places: list[tuple[str, float, float]] = []
    for group in sorted((one for one in groups if one.is_per_sample), key=lambda one: not one.is_headline):
        seconds = [*zip(group.train_seconds, group.test_seconds, strict=True)]
        sums = [train + test for train, test in seconds if train is not None and test is not None]
        if sums and mean(sums) > 0 and len(places) < MOST:
            title = f"{group.method}: {group.policy}"
            acc = mean(_known(group.values["acc"]))
            places.append((title, mean(sums), acc))
            rows.append([f"{len(places)} {visible(title)}", f"{mean(sums):.1f}", f"{acc:.2f}"])
    if not places:
        return Note("No run that answers each sample alone tells its seconds.")
    title = "Cost against accuracy per sample: seconds of training and evaluation under one policy, from nothing"
    numbers = Grid(title, ["Method: policy", "Seconds", "ACC %"], rows, 1, True)
    across = "training and evaluation from nothing, s (log scale)"
    return Chart(points(places, across, "ACC, %", "cost"), title, numbers)


def _curves(groups: Sequence[Group]) -> Chart:
    """Return a chart of the average accuracy after each task, under each method's first policy; means over seeds."""
    chosen = [group for group in groups if group.is_headline][:MOST]
    series: dict[str, list[float]] = {}
    for group in chosen:
        matrices = [next(p for p in run.policies if p.title == group.policy).matrix.a for run in group.runs]
        tasks = range(len(matrices[0]))
        series[f"{group.method}: {group.policy}"] = [mean(float(a[: t + 1, t].mean()) for a in matrices) for t in tasks]
    title = "Average accuracy on the tasks seen so far, under each run's first policy; the mean of several seeds"
    rows = [[visible(name), *(f"{value:.2f}" for value in values)] for name, values in series.items()]
    longest = max(map(len, series.values()))
    padded = [[*row, *[""] * (longest + 1 - len(row))] for row in rows]
    numbers = Grid(title, ["Method: policy", *(f"after {t + 1}" for t in range(longest))], padded)
    return Chart(lines(series, "after task", "average accuracy, %", "compared"), title, numbers)


def _differences(runs: Sequence[RunResult]) -> Block:
    found = differences(runs)
    if not found:
        return Note("The runs have the same settings.")
    rows, marked = [], set()
    for row, (name, values) in enumerate(found.items()):
        rows.append([name, *map(visible, values)])
        usual = [value for value in values if values.count(value) > len(values) / 2]
        marked |= {(row, column) for column, value in enumerate(values, 1) if usual and value not in usual}
    headers = ["Setting", *(f"{i} {visible(run.label)}" for i, run in enumerate(runs, 1))]
    title = "Settings that differ; a value that most runs do not have is marked"
    return Grid(title, headers, rows, len(headers), False, frozenset(marked))
