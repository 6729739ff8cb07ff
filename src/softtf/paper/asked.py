"""What was asked of a table, kept beside its runs as table-8.json: the page of the runs makes the same table of it."""

import json
from collections.abc import Sequence
from pathlib import Path

from softtf.errors import UserError
from softtf.files.plain_json import fits, read_object
from softtf.files.tensors import write_atomic
from softtf.paper import Table, table_named
from softtf.paper.runs import Cell, Wish, plan
from softtf.recipes.presets import RECIPES
from softtf.sweeps.storage import Storage

FORM = {
    "table": str,
    "rows": [int],
    "streams": [str],
    "scale": str,
    "sources": {str: str},
    "settings": dict,
    "seeds": [int],
}


def save_asked(table: Table, cells: Sequence[Cell], wish: Wish) -> None:
    """Write what was asked; what was asked before of the same table is replaced.

    Raises:
        UserError: it cannot be written.
    """
    content = {
        "table": table.name,
        "rows": [i for i, row in enumerate(table.rows) if any(cell.row == row for cell in cells)],
        "streams": list(dict.fromkeys(cell.stream for cell in cells)),
        "scale": wish.scale,
        "sources": dict(wish.sources),
        "settings": dict(wish.settings),
        "seeds": list(wish.seeds),
    }
    file = wish.folder / f"table-{table.name}.json"
    write_atomic(file, json.dumps(content, indent=1) + "\n")
    if wish.url is not None:
        Storage(wish.url).send(file, file.name)


def read_asked(file: Path) -> tuple[Table, list[Cell], Wish]:
    """Return the table, the cells and the wish that `save_asked` wrote, for the runs in the file's folder.

    Raises:
        UserError: the file is of another form, or names what this version does not know.
    """
    content = read_object(file)
    if not fits(content, FORM) or content["scale"] not in ("full", "mini"):
        raise UserError(f"{file} cannot be read: it does not say what was asked of a table")
    table = table_named(content["table"])
    if unknown := [row for row in content["rows"] if not 0 <= row < len(table.rows)]:
        raise UserError(f"{file} names row {unknown[0] + 1} of table {table.name}, which has {len(table.rows)}")
    if strange := [stream for stream in content["streams"] if stream not in RECIPES]:
        raise UserError(f"{file} names the stream {strange[0][:80]!r}, which no recipe has")
    rows = [table.rows[row] for row in content["rows"]]
    seeds = tuple(content["seeds"])
    wish = Wish(content["scale"], content["sources"], content["settings"], seeds, file.parent)
    return table, plan(rows, content["streams"], wish), wish
