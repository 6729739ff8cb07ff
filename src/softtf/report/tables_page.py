"""The part of a page with the paper's tables: the paper's results beside ours, under both policies."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from softtf.errors import visible
from softtf.paper import Table
from softtf.paper.asked import read_asked
from softtf.paper.lines import lines_of
from softtf.paper.notes import notes, title
from softtf.paper.report import columns_of
from softtf.paper.runs import Cell
from softtf.report.blocks import Block, Grid, Note, Section
from softtf.report.comparison import without_folder

TEXTS = 4  # the columns of a table that hold no numbers


def table_sections(folder: Path) -> list[Section]:
    """Return a section for each table whose runs are in a folder; none if `softtf table` did not write there.

    Raises:
        UserError: the file that says which table was asked for cannot be read.
    """
    sections = []
    for file in sorted(folder.glob("table-*.json")):
        table, cells, wish = read_asked(file)
        told = replace(
            wish,
            sources={name: without_folder(source) for name, source in wish.sources.items()},
            settings={name: without_folder(value) for name, value in wish.settings.items()},
        )
        streams = list(dict.fromkeys(cell.stream for cell in cells))
        grids: list[Block] = [_grid(table, stream, [c for c in cells if c.stream == stream]) for stream in streams]
        said = [Note(visible(note)) for note in notes(table, cells, told, {})]
        name = f"Table {table.name}" if table.name.isdigit() else table.name.capitalize()
        sections.append(Section(f"table-{table.name}", visible(f"{name}: {table.caption}"), [*grids, *said]))
    return sections


def _grid(table: Table, stream: str, cells: Sequence[Cell]) -> Grid:
    """Return the lines of one stream; ours are marked, as the paper's stand above them."""
    lines = lines_of(table.name, cells)
    heading, headers, body = columns_of(lines, title(table, stream, cells))
    marked = frozenset((row, headers.index("Numbers")) for row, line in enumerate(lines) if line.numbers == "ours")
    return Grid(visible(heading), headers, [[*map(visible, row)] for row in body], TEXTS, False, marked)
