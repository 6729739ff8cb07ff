"""The part of a page that compares runs; it comes first."""

from collections.abc import Sequence
from statistics import mean

from softtf.errors import visible
from softtf.evaluation.report import differ, with_weights
from softtf.report.blocks import Block, Chart, Columns, Grid, Note, Section
from softtf.report.charts import lines, points
from softtf.report.comparison import WEIGHTS, Group, differences, groups_of, table
from softtf.report.found import RunResult
from softtf.report.verdict import Ranking, failures, leaders, rankings

MOST = 12  # groups on a chart


def comparison_section(runs: Sequence[RunResult]) -> Section:
    """Return the comparison of several runs."""
    groups = groups_of(runs)
    found = rankings(groups)
    failed = failures(found)
    blocks: list[Block] = [
        Note(
            "Runs that differ only in the seed are one row: mean ± standard deviation over seeds. Each row names its"
            " policy. Compare rows whose answers rest on the same evidence: each sample alone, a batch of one task, or"
            " the task given. A method that needs no task is a rival of all that infer it for each sample alone."
        ),
        leaders(found),
        *([] if failed is None else [failed]),
        Columns([cost_chart(groups), _curves(groups)]),
        _table(groups, found),
        _differences(runs),
    ]
    return Section("comparison", "Comparison", blocks)


def _table(groups: Sequence[Group], found: Sequence[Ranking]) -> Grid:
    """Return all groups, each sample alone first; the highest ACC of several on one stream is marked."""
    ordered = sorted(groups, key=lambda group: (group.is_oracle, not group.is_per_sample, -group.acc))
    headers, body = table(ordered)
    rivals = [ranking for ranking in found if ranking.first.is_per_sample and len(ranking.groups) > 1]
    best = [ordered.index(ranking.first) for ranking in rivals]
    title = "All methods and policies, percent; the highest ACC per sample is marked. A click on a header sorts"
    if not differ([row[WEIGHTS] for row in body]):
        title = with_weights(title, [row[WEIGHTS] for row in body])
        headers, body = [*headers[:WEIGHTS], *headers[WEIGHTS + 1 :]], [[*r[:WEIGHTS], *r[WEIGHTS + 1 :]] for r in body]
    told = headers[2 : headers.index("ACC %")]  # what is read last: on a phone the first columns are seen
    order = [0, 1, *range(2 + len(told), len(headers)), *range(2, 2 + len(told))]
    headers, body = [headers[i] for i in order], [[visible(row[i]) for i in order] for row in body]
    return Grid(visible(title), headers, body, 2, True, frozenset((row, headers.index("ACC %")) for row in best))


def cost_chart(groups: Sequence[Group]) -> Block:
    """Return a chart of seconds against ACC: training and testing from nothing, under each per-sample policy."""
    rows: list[list[str]] = []
    places: list[tuple[str, float, float]] = []
    for group in sorted((one for one in groups if one.is_per_sample), key=lambda one: not one.is_headline):
        seconds = [*zip(group.train_seconds, group.test_seconds, strict=True)]
        sums = [train + test for train, test in seconds if train is not None and test is not None]
        if sums and mean(sums) > 0:
            title = f"{group.method}: {group.policy}"
            places.append((title, mean(sums), group.acc))
            rows.append([f"{len(places)} {visible(title)}", f"{mean(sums):.1f}", f"{group.acc:.2f}"])
    if not places:
        return Note("No run that answers each sample alone tells its seconds.")
    title = "Cost against accuracy per sample: seconds of training and evaluation under one policy, from nothing"
    title += _left_out(len(places))
    numbers = Grid(title, ["Method: policy", "Seconds", "ACC %"], rows, 1, True)
    across = "training and evaluation from nothing, s (log scale)"
    return Chart(points(places[:MOST], across, "ACC, %", "cost"), title, numbers)


def _curves(groups: Sequence[Group]) -> Chart:
    """Return a chart of the average accuracy after each task, under each method's headline; means over seeds."""
    chosen = [group for group in groups if group.is_headline]
    series: dict[str, list[float]] = {}
    for group in chosen:
        matrices = [run.result(group.policy).matrix.a for run in group.runs]
        tasks = range(len(matrices[0]))
        series[f"{group.method}: {group.policy}"] = [mean(float(a[: t + 1, t].mean()) for a in matrices) for t in tasks]
    title = (
        "Average accuracy on the tasks seen so far, by the policy that predict answers by; the mean of several seeds"
    )
    title += _left_out(len(series))
    rows = [[visible(name), *(f"{value:.2f}" for value in values)] for name, values in series.items()]
    longest = max(map(len, series.values()))
    padded = [[*row, *[""] * (longest + 1 - len(row))] for row in rows]
    numbers = Grid(title, ["Method: policy", *(f"after {t + 1}" for t in range(longest))], padded)
    return Chart(lines(dict([*series.items()][:MOST]), "after task", "average accuracy, %", "compared"), title, numbers)


def _left_out(count: int) -> str:
    """Return what a chart's caption says if there are more than it has room for."""
    return f"; the chart shows the first {MOST} of {count}, and its table all" if count > MOST else ""


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
