import csv
import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from softtf.evaluation import AccuracyMatrix, Row, render, render_matrix, to_csv, to_latex, to_markdown
from softtf.evaluation.report import parameters

ORACLE = Row("Soft-TF L[10]", "oracle", "own", 98.505, 0.0, 100.0, 6_930_000, 2.0, 12.0, 0.5, 3.5)
SAMPLE = Row("Soft-TF L[10]", "Gradient ID, per-sample", "seen", 41.2345, 1.5, None, 5130, None, None, 1.25, 3.25)
BATCH = Row(
    *("A|B & 100%_c", "prompt-id, same-task batch(24)", "–", 97.0, 0.126, 99.0),
    *(30_000, 1.0, 1.5, 2.0, 2.5, "as published"),
)
ROWS = [ORACLE, SAMPLE, BATCH]


def printed(table: Table, width: int = 200) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text().splitlines()


def test_the_terminal_table_names_policies_and_puts_the_oracle_last() -> None:
    table = render(ROWS, "CIFAR [bold]", "one [red] run")
    lines = printed(table)
    assert "CIFAR [bold]" in lines[0] and "one [red] run" in lines[-1]
    assert any("task inference (policy)" in line for line in lines)
    body = [" ".join(line.split()) for line in lines]
    start = body.index("Soft-TF L[10]")
    assert body[start : start + 5] == [
        "Soft-TF L[10]",
        "Gradient ID, per-sample seen 41.23 1.50 – 5,130 – – 1.2 3.2",
        f"oracle (task given) own {98.505:.2f} 0.00 100.00 6.93M 2.0 12.0 0.5 3.5",
        BATCH.method,
        f"{BATCH.policy} – 97.00 0.13 99.00 0.03M 1.0 1.5 2.0 2.5 as published",
    ]
    assert [row.style for row in table.rows] == [None, None, "dim", None, None]


def test_eighty_columns_are_enough() -> None:
    slow = replace(
        SAMPLE, train_seconds_this_run=150.4, train_seconds_from_nothing=12345.6, parameters_per_task=7_080_000
    )
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(render([slow, ORACLE], "t", "c"))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert any(line.endswith("41.23 1.50 – 7.08M 150 12346 1.2 3.2") for line in lines)
    assert any(line.endswith(f"{98.505:.2f} 0.00 100.00 6.93M 2.0 12.0 0.5 3.5") for line in lines)


def test_the_task_is_said_to_be_given_once() -> None:
    lines = printed(render([replace(ORACLE, policy="oracle (task given)")], "t", "c"))
    assert sum(line.count("task given") for line in lines) == 1


def test_notes_take_no_column_where_there_are_none() -> None:
    assert len(render([ORACLE], "t", "c").columns) == len(render([BATCH], "t", "c").columns) - 1


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (5130, "5,130"),
        (9999, "9,999"),
        (30_000, "0.03M"),
        (6_930_000, "6.93M"),
        (1_234_560_000, "1,234.56M"),
    ],
)
def test_parameters_are_exact_while_small(count: int, text: str) -> None:
    assert parameters(count) == text


def test_markdown_has_one_cell_for_each_header() -> None:
    title, blank, header, rule, *body = to_markdown(ROWS, "Table 1").splitlines()
    assert (title, blank) == ("## Table 1", "")
    assert "Task inference (policy)" in header and set(rule) <= set("|-: ")
    counts = {line.replace(r"\|", "").count("|") for line in (header, rule, *body)}
    assert len(counts) == 1 and len(body) == 3
    assert body[1].startswith(r"| A\|B & 100%_c | prompt-id, same-task batch(24) | – | 97.00 |")
    assert "oracle (task given)" in body[2]


def test_csv_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([ORACLE, replace(BATCH, note='a, "b"\nc'), SAMPLE]))))
    assert [row["policy"] for row in rows] == [BATCH.policy, SAMPLE.policy, "oracle"]
    assert rows[0]["note"] == 'a, "b"\nc'
    assert rows[1] == {
        "method": SAMPLE.method,
        "policy": SAMPLE.policy,
        "classes": "seen",
        "acc": "41.23",
        "forget": "1.50",
        "task_identity": "",
        "parameters_per_task": "5130",
        "train_seconds_this_run": "",
        "train_seconds_from_nothing": "",
        "test_seconds_this_run": "1.25",
        "test_seconds_from_nothing": "3.25",
        "note": "",
        "weights": "",
    }


def test_latex_is_escaped_and_has_one_cell_for_each_column() -> None:
    lines = to_latex(ROWS).splitlines()
    assert lines[0] == r"\begin{tabular}{lllrrrrrrrrl}" and lines[-1] == r"\end{tabular}"
    table = [line for line in lines if line.endswith(r" \\")]
    assert {line.replace(r"\&", "").count("&") for line in table} == {11}
    assert r"Task inference (policy) & Loss over & ACC \%" in table[0]
    assert table[2].startswith(r"A|B \& 100\%\_c & ") and "oracle (task given)" in table[3]
    assert r"\textbackslash{}\{\textasciicircum{}\}" in to_latex([replace(SAMPLE, method="\\{^}")])


def test_a_users_metric_is_whole_on_a_narrow_terminal() -> None:
    rows = [replace(row, others=(("Plasticity %", 12.5),)) for row in ROWS]
    first = " ".join(line[:20].strip() for line in printed(render(rows, "title", "caption"), 80))
    assert first.count("Plasticity %: 12.50") == len(rows)
    assert "| 12.50 |" in to_markdown(rows, "title")


WEIGHTS = "vit_tiny_patch8_64 (SHA-256 0123456789ab)"
FORMS = {
    "terminal": lambda rows: "\n".join(printed(render(rows, "title", "caption"))),
    "markdown": lambda rows: to_markdown(rows, "title"),
    "csv": to_csv,
    "latex": to_latex,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_names_the_weights_once_or_row_by_row_where_they_differ(form: Callable[..., str]) -> None:
    rows = [replace(row, weights=WEIGHTS) for row in ROWS]
    said = 3 if form is to_csv else 1
    assert form(rows).replace(r"\_", "_").count(WEIGHTS) == said
    other = "vit_tiny_patch8_64 (SHA-256 ba9876543210)"
    mixed = form([rows[0], replace(rows[1], weights=other), rows[2]]).replace(r"\_", "_")
    assert (mixed.count(WEIGHTS), mixed.count(other)) == (2, 1)
    unknown = form([rows[0], replace(rows[1], weights=""), rows[2]]).replace(r"\_", "_")
    assert unknown.count(WEIGHTS) == 2, "what is not known is not said to be the others'"


def test_the_matrix_is_blank_above_what_was_learned() -> None:
    lines = printed(render_matrix(AccuracyMatrix([[1], [2, 3]], [3, 4]), "a [i, t]"))
    assert "a [i, t]" in lines[0] and "after 1" in lines[2] and "after 2" in lines[2]
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert cells == [["task 1", "33.33", "66.67"], ["task 2", "", "75.00"]]
