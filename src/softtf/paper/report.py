"""A table in the paper's layout, for the terminal, Markdown, LaTeX and CSV; the policy is in the header."""

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable

from softtf.config.names import PAPER_BATCH
from softtf.evaluation.report import differ, latex_table, markdown_table, with_weights
from softtf.paper.lines import Line, Score, Values
from softtf.paper.notes import labels_protocol, rows_of
from softtf.paper.runs import Cell
from softtf.screen import plain

HEADERS = (
    "Method",
    "Task ID",
    "Numbers",
    "Loss over",
    "per-sample (headline): ACC / Forget",
    f"paper's policy, same-task batch({PAPER_BATCH}): ACC / Forget",
    "task given: ACC",
    "Params/task",
    "Train s, this run",
    "Train s, from nothing",
    "Test s, this run",
    "Test s, from nothing",
)
CSV_FIELDS = (
    *("table", "stream", "labels", "method", "task_id", "numbers", "classes", "policy", "seeds"),
    *("acc", "acc_std", "forget", "forget_std", "task_right"),
    "parameters",
    *(
        f"{part}_s_{kind}{end}"
        for part in ("train", "test")
        for kind in ("this_run", "from_nothing")
        for end in ("", "_std")
    ),
    *("weights", "rows"),
)


def _other_titles(lines: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(title for line in lines for title in line.others))


def columns_of(lines: Sequence[Line], heading: str) -> tuple[str, list[str], list[list[str]]]:
    """Return heading, column headers and cells; weights that all our lines share are in the heading."""
    weights = [line.cells[-1] for line in lines if line.weights]
    others = _other_titles(lines)
    headers = [*HEADERS, *(f"{title}: per-sample / paper's policy" for title in others)]
    body = [[*line.cells[: len(HEADERS)], *(line.others.get(title, "–") for title in others)] for line in lines]
    if differ(weights):
        headers.append("Weights")
        body = [[*cells, line.cells[-1]] for cells, line in zip(body, lines, strict=True)]
    return with_weights(heading, weights), headers, body


def _numbers(lines: Sequence[Line]) -> range:
    """Return the columns that hold numbers."""
    return range(4, len(HEADERS) + len(_other_titles(lines)))


def render(lines: Sequence[Line], heading: str) -> RichTable:
    """Return the lines as a table for the terminal.

    Under a row's name are its task inference, weights that differ, and further metrics: columns of these would leave
    the usual numbers no room.
    """
    heading, headers, _ = columns_of(lines, heading)
    table = RichTable(
        title=plain(heading), box=SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0), show_edge=False
    )
    apart = headers[-1] == "Weights"
    table.add_column(plain("Method\n  task ID" + "\n  Weights" * apart), min_width=24, overflow="fold")
    for header in HEADERS[2:]:
        words = header.replace(": ", ":\n").replace(", ", ",\n").replace("/t", "/\nt")
        words = words.replace("from ", "from\n").replace(" over", "\nover")
        table.add_column(plain("" if header == "Numbers" else words), justify="right")
    before = None
    for i, line in enumerate(lines):
        name = (line.method, line.task_id)
        if name == before:
            first = f"  {line.task_id}"
        else:
            alone = i + 1 == len(lines) or (lines[i + 1].method, lines[i + 1].task_id) != name
            first = f"{line.method}\n  {line.task_id}" if alone else line.method
        before = name
        first += "".join(f"\n  {weights}" for weights in line.weights) if apart else ""
        first += "".join(f"\n  {title}: {text}" for title, text in line.others.items())
        cells = map(plain, line.cells[2 : len(HEADERS)])
        table.add_row(plain(first), *cells, style="dim" if line.numbers == "paper" else None)
    return table


def to_markdown(lines: Sequence[Line], heading: str) -> str:
    """Return the lines as a Markdown table under a heading."""
    heading, headers, body = columns_of(lines, heading)
    return f"## {heading}\n\n" + markdown_table(headers, body, _numbers(lines))


def to_latex(lines: Sequence[Line], heading: str) -> str:
    """Return the lines as a LaTeX tabular below its heading as a comment; it needs the package booktabs."""
    heading, headers, body = columns_of(lines, heading)
    return f"% {heading}\n" + latex_table(headers, body, _numbers(lines))


def to_csv(table: str, parts: Mapping[str, Sequence[Line]], cells: Sequence[Cell]) -> str:
    """Return the lines of every stream as CSV, one line for each policy that has numbers."""
    text, labels = io.StringIO(), labels_protocol(cells)
    writer = csv.writer(text, lineterminator="\n")
    others = _other_titles([line for lines in parts.values() for line in lines])
    writer.writerow([*CSV_FIELDS, *others])
    for stream, lines in parts.items():
        for line in lines:
            for score in dict.fromkeys((line.per_sample, line.papers, line.oracle)):
                if score.acc or score.test_from_nothing:
                    further = (_mean_and_deviation(dict(score.others).get(title, ()))[0] for title in others)
                    rows = rows_of(cells, stream) if line.numbers == "ours" else ""
                    writer.writerow([table, stream, labels, *_csv(line, score), rows, *further])
    return text.getvalue()


def _csv(line: Line, score: Score) -> list[str]:
    seeds = str(max(len(score.acc), len(score.test_from_nothing)))
    first = [line.method, line.task_id, line.numbers, line.classes, score.policy, seeds]
    right = f"{mean(score.task_right):.2f}" if score.task_right else ""
    parts = [*_mean_and_deviation(score.acc), *_mean_and_deviation(score.forget), right]
    parts.append("" if line.parameters == "–" else line.parameters)
    seconds = (line.train_this_run, line.train_from_nothing, score.test_this_run, score.test_from_nothing)
    timed = [text for values in seconds for text in _mean_and_deviation(values)]
    return [*first, *parts, *timed, " and ".join(line.weights)]


def _mean_and_deviation(values: Values) -> list[str]:
    return [f"{mean(values):.2f}" if values else "", f"{stdev(values):.2f}" if len(values) > 1 else ""]
