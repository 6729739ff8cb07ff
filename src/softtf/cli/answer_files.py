"""Answers as a .csv, .jsonl or .parquet file: written as they come, and there whole or not at all."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from softtf.cli.answer_rows import AnswerRow, columns
from softtf.errors import UserError, reason_of, unknown
from softtf.files.temporary import temporary_name

Write = Callable[[Sequence[AnswerRow]], None]
ENDINGS = (".csv", ".jsonl", ".parquet")


def check_ending(path: Path) -> None:
    """Refuse a file of another kind, and a folder that is not there; raises UserError."""
    if path.suffix.lower() not in ENDINGS:
        raise unknown("kind of file for answers", path.suffix or str(path), ENDINGS)
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"--output {path}: {'it is a folder' if path.is_dir() else f'there is no {path.parent}'}")


@contextmanager
def answers_file(path: Path, kind: str, top: int) -> Iterator[Write]:
    """Yield what writes rows to a file, which replaces `path` at the end; whatever raises leaves `path` as it was.

    Args:
        path: where to; its ending says what it is.
        kind: of the inputs, the name of the first column: `file` or `text`.
        top: how many labels a row has.

    Raises:
        UserError: the file cannot be written.
    """
    own = path.with_name(temporary_name())
    try:
        with _WRITERS[path.suffix.lower()](own, kind, top) as write:
            yield write
        own.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {reason_of(error)}") from error
    finally:
        own.unlink(missing_ok=True)


@contextmanager
def _csv(path: Path, kind: str, top: int) -> Iterator[Write]:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns(kind, top))
        table.writeheader()
        yield lambda rows: table.writerows([row.cells(top) for row in rows])


@contextmanager
def _jsonl(path: Path, kind: str, top: int) -> Iterator[Write]:
    with path.open("w", encoding="ascii") as file:
        yield lambda rows: file.writelines([json_line(row) + "\n" for row in rows])


@contextmanager
def _parquet(path: Path, kind: str, top: int) -> Iterator[Write]:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    def type_of(name: str) -> Any:
        number = name.startswith(("confidence", "unknown"))
        return pa.float64() if number else pa.int64() if name == "task" else pa.string()

    schema = pa.schema([(name, type_of(name)) for name in columns(kind, top)])
    with pq.ParquetWriter(path, schema) as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist([row.cells(top) for row in rows], schema))


_WRITERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}


def json_line(row: AnswerRow) -> str:
    """Return a row as a line of JSON, which escapes all that is not ASCII, and DEL."""
    return json.dumps(row.json()).replace("\x7f", "\\u007f")
