"""A run's log, events.jsonl: a line per epoch, per end of a task and per evaluation. Its seconds are read for tables.

A crash may leave half a line, and people may edit it, so lines that cannot be read are skipped.
"""

from pathlib import Path
from typing import Any

from softtf.errors import UserError, reason_of
from softtf.files.plain_json import NUMBER, fits, parse_json
from softtf.files.reading import open_regular

LARGEST = 2**26  # bytes of a log: those of some 200,000 epochs
LONGEST = 2**20  # bytes of a line
FORMS: dict[str, dict[str, Any]] = {
    "epoch": {"task": int, "epoch": int, "seconds": NUMBER},
    "consolidation": {"task": int, "seconds": NUMBER},
    "evaluation": {"task": int, "seconds": {str: NUMBER}},
}
LATER: dict[str, Any] = {"kept": NUMBER, "wall": NUMBER, "from_nothing": {str: NUMBER}}  # earlier versions wrote none


def read_log(file: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the lines of a log that can be read, and how many others there are.

    Raises:
        UserError: the file cannot be read at all, or has more than LARGEST bytes.
    """
    if not file.exists():
        return [], 0
    events, unread = [], 0
    try:
        lines = open_regular(file, LARGEST)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {reason_of(error)}") from None
    with lines:
        while line := lines.readline(LONGEST):
            if (event := _event(line)) is not None:
                events.append(event)
            elif line.strip():
                unread += 1
    return events, unread


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = parse_json(line.decode(), "")
    except (UnicodeDecodeError, UserError):
        return None
    form = FORMS.get(event["event"]) if fits(event, {"event": str}) else None
    if form is None or not fits(event, form | {name: LATER[name] for name in LATER if name in event}):
        return None
    return dict(event)
