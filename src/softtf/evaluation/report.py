"""Tables of results for the terminal, Markdown, CSV and LaTeX; each names the policy of every row."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

from rich.box import SIMPLE_HEAD
from rich.table import Table

from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.evaluation.metrics import METRICS
from softtf.screen import plain

HEADERS = (
    "Method",
    "Task inference (policy)",
    "Loss over",
    "ACC %",
    "Forget %",
    "Task right %",
    "Params/task",
    "Train s, this run",
    "Train s, from nothing",
    "Test s, this run",
    "Test s, from nothing",
)
OPTIONAL = ("Note", "Weights")
NUMBERS = range(3, 11)  # the columns that hold them
_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class Row:
    """One method under one policy.

    Attributes:
        method: Its name.
        policy: How the task was inferred and over which samples; "oracle..." is the upper bound.
        classes: The classes that the method's cross-entropy is over (`softtf.learners.spans`); "–" for none.
        acc: Average accuracy, percent.
        forget: Forgetting, percent.
        task_identity: Percent of samples whose task was named right; None if that was not recorded.
        parameters_per_task: Those trained or solved for in the last task: its own, shared ones, and the heads of
            earlier tasks where it trains or solves them again.
        train_seconds_this_run: Those that passed. All seconds are None if they were not measured.
        train_seconds_from_nothing: What they would be if no feature had been kept from earlier runs.
        test_seconds_this_run: Those that this policy alone took in all evaluations.
        test_seconds_from_nothing: What they would be if nothing had been kept from earlier runs, tasks and evaluations.
        note: A remark.
        weights: The frozen backbone's, by name and hash (`BackboneSpec.weights_title`).
        others: Further metrics, by title (`printed_of`).
    """

    method: str
    policy: str
    classes: str
    acc: float
    forget: float | None
    task_identity: float | None
    parameters_per_task: int | None
    train_seconds_this_run: float | None
    train_seconds_from_nothing: float | None
    test_seconds_this_run: float | None
    test_seconds_from_nothing: float | None
    note: str = ""
    weights: str = ""
    others: tuple[tuple[str, float | None], ...] = ()

    @property
    def is_oracle(self) -> bool:
        """Whether the task was given."""
        return self.policy.startswith("oracle")


def render(rows: Sequence[Row], title: str, caption: str) -> Table:
    """Return the rows as a table for the terminal: under each method its policies, the oracle last and dim.

    Weights that differ and further metrics are under the policy: columns of these would leave the numbers no room.
    """
    title = with_weights(title, [row.weights for row in rows])
    table = Table(box=SIMPLE_HEAD, title_justify="left", caption_justify="left", padding=0, show_edge=False)
    table.title, table.caption = plain(title), plain(caption)
    headers, body = _cells(rows)
    apart, others = headers[-1] == "Weights", range(len(HEADERS), len(HEADERS) + len(_other_titles(rows)))
    table.add_column("Method\n task inference (policy)" + "\n  Weights" * apart, min_width=16, overflow="fold")
    table.add_column(plain(headers[2].replace(" ", "\n")))
    for header in headers[3:11]:
        words = header.replace(", ", " ").replace(" ", "\n").replace("/", "/\n")
        table.add_column(plain(words), justify="right", no_wrap=True)
    for header in headers[others.stop : len(headers) - apart]:
        table.add_column(plain(header))
    for method in dict.fromkeys(row.method for row in rows):
        table.add_row(plain(method, style="bold"))
        mine = [pair for pair in zip(_ordered(rows), body, strict=True) if pair[0].method == method]
        for row, cells in mine:
            # Text, because "[...]" in a plain string would be markup.
            first = f" {cells[1]}" + f"\n  {cells[-1]}" * apart
            first += "".join(f"\n  {headers[i]}: {cells[i]}" for i in others)
            shown = map(plain, [*cells[2 : others.start], *cells[others.stop : len(cells) - apart]])
            table.add_row(plain(first), *shown, style="dim" if row.is_oracle else None)
    return table


def to_markdown(rows: Sequence[Row], title: str) -> str:
    """Return the rows as a Markdown table under a heading."""
    headers, body = _cells(rows)
    title = with_weights(title, [row.weights for row in rows])
    return f"## {title}\n\n" + markdown_table(headers, body, NUMBERS)


def markdown_table(headers: Sequence[str], body: Sequence[Sequence[str]], numbers: range) -> str:
    """Return cells of any text as a Markdown table, the columns of `numbers` aligned to the right."""
    rule = ["---:" if i in numbers else "---" for i in range(len(headers))]
    lines = [[_markdown(cell) for cell in cells] for cells in (headers, *body)]
    lines.insert(1, rule)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def to_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV headed by the field names: two decimals, exact parameters, None empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    others = _other_titles(rows)
    writer.writerow([*(field.name for field in fields(Row)[:-1]), *others])
    for row in _ordered(rows):
        values = [*astuple(row)[:-1], *map(dict(row.others).get, others)]
        writer.writerow(f"{v:.2f}" if isinstance(v, float) else v for v in values)
    return text.getvalue()


def to_latex(rows: Sequence[Row]) -> str:
    """Return the rows as a LaTeX tabular below their weights as a comment; it needs the package booktabs."""
    weights = with_weights("", [row.weights for row in rows])
    return (f"% {weights}\n" if weights else "") + latex_table(*_cells(rows), NUMBERS)


def with_weights(title: str, weights: Sequence[str]) -> str:
    """Return a table's title with the weights of its rows; where rows differ, a column has them instead."""
    named = "" if differ(weights) else next(iter(weights), "")
    return "; ".join(part for part in (title, f"weights {named}" if named else "") if part)


def differ(weights: Sequence[str]) -> bool:
    """Return whether a table's rows have different weights; unknown ones ("") count as different."""
    return len(set(weights)) > 1


def latex_table(headers: Sequence[str], body: Sequence[Sequence[str]], numbers: range) -> str:
    """Return cells of any text as a LaTeX tabular, the columns of `numbers` aligned to the right."""
    lines = [" & ".join(map(_latex, cells)) + r" \\" for cells in (headers, *body)]
    columns = "".join("r" if i in numbers else "l" for i in range(len(headers)))
    parts = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:]]
    return "\n".join([*parts, r"\bottomrule", r"\end{tabular}"]) + "\n"


def render_matrix(matrix: AccuracyMatrix, title: str) -> Table:
    """Return a[i, t] as a table for the terminal: a row per task tested, a column per task learned."""
    table = Table(title=plain(title), caption="accuracy in percent")
    table.add_column("tested")
    for t in range(len(matrix.total)):
        table.add_column(f"after {t + 1}", justify="right")
    for i, row in enumerate(matrix.a):
        table.add_row(f"task {i + 1}", *(f"{value:.2f}" if t >= i else "" for t, value in enumerate(row)))
    return table


def parameters(count: int) -> str:
    """Return a count of parameters as 6.93M, or exactly (5,130) below ten thousand."""
    return f"{count:,}" if count < 10_000 else f"{count / 1e6:,.2f}M"


def _ordered(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.is_oracle)


def _cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return headers and cells as text, oracle rows last; with notes if there are any, and with weights that differ."""
    wanted = {"Note": any(row.note for row in rows), "Weights": differ([row.weights for row in rows])}
    others = _other_titles(rows)
    headers, body = [*HEADERS, *others, *(name for name in OPTIONAL if wanted[name])], []
    for row in _ordered(rows):
        given = row.is_oracle and "task given" not in row.policy
        policy = f"{row.policy} (task given)" if given else row.policy
        numbers = [_number(row.acc), _number(row.forget), _number(row.task_identity)]
        numbers += [
            "–" if row.parameters_per_task is None else parameters(row.parameters_per_task),
            *map(_seconds, (row.train_seconds_this_run, row.train_seconds_from_nothing)),
            *map(_seconds, (row.test_seconds_this_run, row.test_seconds_from_nothing)),
        ]
        beside = {title: _number(dict(row.others).get(title)) for title in others}
        beside |= {"Note": row.note, "Weights": row.weights or "–"}
        body.append([row.method, policy, row.classes, *numbers, *(beside[name] for name in headers[len(HEADERS) :])])
    return headers, body


def _other_titles(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(title for row in rows for title, _ in row.others))


def printed_of(values: Mapping[str, float | None]) -> tuple[tuple[str, float | None], ...]:
    """Return the metrics that tables show beside their usual columns, by title; values: all metrics, by name."""
    return tuple((found.title, values.get(name)) for name, found in METRICS.items() if found.printed)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.{1 if value < 100 else 0}f}"


def _markdown(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())


def _latex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text).replace("–", "--")
