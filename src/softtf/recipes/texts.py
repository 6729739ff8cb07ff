"""Descriptions of text streams, and the settings for a file of the user's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softtf.recipes.presets import PROTOCOL_NAMES, PROTOCOLS, RECIPES
from softtf.runs.config import StreamConfig
from softtf.streams.columns import LABEL_NAMES
from softtf.streams.files import ENDINGS, count_values
from softtf.streams.stream import tasks_for

TASK = "task"  # the column of a user's file that names the task of each row


def rows_protocol(stream: StreamConfig) -> str:
    """Return the numbers of training and test rows for headings, with the protocol's name if they are one's.

    Empty for a stream that is not made of several data sets.
    """
    if not stream.datasets:
        return ""
    rows = {name: getattr(stream, name) for name in ("train_per_class", "train_per_dataset", "test_per_dataset")}
    names = [PROTOCOL_NAMES[key] for key, wanted in PROTOCOLS.items() if rows == wanted and not stream.test_per_class]
    parts = [
        f"{count:,} {part} rows per {unit}"
        for part, split in (("training", "train"), ("test", "test"))
        for unit, count in (
            ("class", getattr(stream, f"{split}_per_class")),
            ("data set", rows[f"{split}_per_dataset"]),
        )
        if count is not None
    ]
    return ": ".join([*names, " and ".join(parts) or "all rows of the data sets"])


def own_file(recipe: str, source: str | None) -> Path | None:
    """Return the user's file of rows that is to be learned, if there is one.

    Args:
        recipe: the name of a recipe; or the file, in place of one.
        source: the file or other data of a recipe that is for a file of the user's (`Recipe.own_file`).
    """
    named = source if recipe in RECIPES and RECIPES[recipe].own_file else recipe
    return Path(named) if named and named.lower().endswith(ENDINGS) else None


def file_settings(recipe: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stream's settings for the user's file of rows that is to be learned; empty if there is none.

    Args:
        recipe: as for `own_file`.
        given: the user's settings by their dotted names. `stream.source` may name the file; `stream.task_column` names
            the column with each row's task, `task` by default, used if the file has it, None deals classes out.

    Raises:
        UserError: the file cannot be read, or is empty.
    """
    file = own_file(recipe, given.get("stream.source"))
    if file is None:
        return {}
    column = given.get("stream.task_column", TASK)
    has = column is not None and column in count_values(file, [column])
    return {"stream.source": str(file), **({"stream.task_column": column} if has else {})}


def tasks_of_file(file: Path, stream: StreamConfig) -> str:
    """Return a line that says how a user's file is split into tasks, and how to change that."""
    column = stream.task_column or TASK
    labels = [stream.label_column] if stream.label_column else list(LABEL_NAMES)
    counts = count_values(file, [column, *(name for name in labels if name != column)])
    found, number = counts.pop(column, None), stream.num_tasks
    if found is None or stream.task_column is None:
        absent = f"no column {column!r}; " if found is None else ""
        number = number or tasks_for(next(iter(counts.values()), 10))
        return f"{file.name}: {absent}its classes are dealt to {number} tasks (--stream.num-tasks)"
    some = f", of which the first {number} are learned" if number is not None and number < found else ""
    return f"{file.name}: column {column!r} names {found} tasks{some} (--stream.task-column None to deal classes out)"
