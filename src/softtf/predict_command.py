"""`softtf predict`: label images or texts from the command line."""

import json
import os
import sys
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softtf import flags
from softtf.arguments import positionals, wants_help
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.inference.predict import Answers
from softtf.saving import MaskPlace
from softtf.store import encode_label
from softtf.streams.files import ENDINGS, read_images, read_texts, split_lines
from softtf.streams.walk import Passed, images_below, say_passed

HELP = "Label images, or texts with a learner of texts."

Row = tuple[str, Any]
"""What to call an input, and the input."""


@dataclass(frozen=True)
class PredictOptions:
    """How to predict.

    An image learner takes image files, folders of them, and files of rows with images or their paths. A text learner
    takes texts as they are, and files: of lines, or of rows (.csv, .tsv, .jsonl or .parquet); - is the lines of stdin.
    Texts that begin with a dash stand at the end, behind --. What cannot be read is told, the rest answered, and the
    exit code is 1.

    Attributes:
        json: print one JSON object a line; what cannot be read has an `error` in place of an answer.
        strict: stop at the first input that cannot be read, and answer none.
        inference: another task inference, such as gradient-id.
        task: the task, from 1, where it is known.
        pool: all that is named belongs to one task, which is not known: pool their evidence.
        batch_size: samples at once; answers do not depend on it.
        device: auto, cpu, cuda, ...
        input_column: of a file of rows, the column with the texts or images; none given finds it.
        masks: disk leaves them in their files and reads in those that answers use; the answers are the same.
    """

    json: bool = False
    strict: bool = False
    inference: str | None = None
    task: int | None = None
    pool: bool = False
    batch_size: int = 64
    device: str = "auto"
    input_column: str | None = None
    masks: MaskPlace = "memory"


def predict(args: list[str]) -> int:
    """Label images or texts with a learner that was saved or run."""
    usage = "softtf predict DIR FILE|FOLDER|TEXT..."
    if wants_help(args):
        flags.parse(PredictOptions(), ["--help"], usage, HELP)
    (folder, *inputs), rest = positionals(args, usage, 2)
    options = flags.parse(PredictOptions(), rest, "softtf predict", HELP)
    path = Path(folder)
    is_run = (path / "config.yaml").exists()
    model = ContinualClassifier.from_pretrained(
        path / "learner" if is_run else path,
        device=options.device,
        inference=options.inference,
        unfinished=is_run,
        masks=options.masks,
    )
    if not model.num_tasks:
        raise UserError(
            f"nothing was learned yet: {path} has no finished task"
            + (f"; go on with `softtf resume {path}`" if is_run else "")
        )
    if options.task is not None and not 1 <= options.task <= model.num_tasks:
        raise UserError(f"there is no task {options.task}; tasks 1 to {model.num_tasks} were learned")
    task = None if options.task is None else options.task - 1
    if model.learner.network.backbone.reads_text:
        kind, rows = "text", [(text, text) for name in inputs for text in _texts(name, options.input_column)]
    else:
        kind, rows = "file", [row for name in inputs for row in _images(Path(name), options.input_column)]
    unread: dict[int, str] = {}

    def answer(chosen: list[Row]) -> Answers:
        groups = [0] * len(chosen) if options.pool else None
        return model.answer([value for _, value in chosen], groups=groups, task=task, batch_size=options.batch_size)

    try:
        answers = answer(rows)
    except UserError:
        unread = {} if options.strict else _unreadable(model, kind, rows)
        if not unread or len(unread) == len(rows):
            raise
        answers = answer([row for i, row in enumerate(rows) if i not in unread])
    found = iter(model.describe(answers))
    for i, (name, _) in enumerate(rows):
        _print(kind, name, unread[i] if i in unread else next(found), options.json)
    return 1 if unread else 0


def _unreadable(model: ContinualClassifier, kind: str, rows: list[Row]) -> dict[int, str]:
    """Return which of the rows cannot be read, and why."""
    preparation = model.learner.network.backbone.preparation
    found: dict[int, str] = {}
    for i, (name, value) in enumerate(rows):
        try:
            preparation.load_test(value, kind if name == value else name)
        except UserError as error:
            found[i] = str(error)
    return found


def _print(kind: str, row: str, answer: tuple[Hashable, float, int] | str, as_json: bool) -> None:
    """Print one row's answer, or why there is none."""
    if isinstance(answer, str):
        if as_json:
            print(json.dumps({kind: row, "error": answer}))
        else:
            _note(f"not answered: {' '.join(answer.split())}")
        return
    label, confidence, named = answer
    if as_json:
        print(json.dumps({kind: row, "label": encode_label(label), "confidence": confidence, "task": named + 1}))
    else:
        shown = " ".join(row.split()) if kind == "text" else row
        print(f"{shown}\t{label}\t{confidence:.3f}\ttask {named + 1}")


def _texts(name: str, column: str | None) -> list[str]:
    """Return the texts of a file, the lines of stdin for `-`, or the text itself."""
    if name == "-":
        return split_lines(sys.stdin.read())
    if os.path.isfile(name):
        return read_texts(Path(name), column)
    if os.path.isdir(name):
        raise UserError(f"{name} is a folder; give texts, files of texts, or - for the lines of stdin")
    if name.lower().endswith((".txt", *ENDINGS)) and " " not in name:
        raise UserError(f"there is no file {name}")
    return [name]


def _images(path: Path, column: str | None) -> list[Row]:
    """Return the image of a file, those of a file of rows, or those anywhere below a folder, sorted."""
    if path.is_dir():
        files = images_below(path, passed := Passed())
        say_passed(_note, str(path), passed)
        if not files:
            raise UserError(f"there is no image in folder {path}")
        return [(str(file), str(file)) for file in files]
    if not path.exists():
        raise UserError(f"there is no file or folder {path}")
    return read_images(path, column) if path.suffix.lower() in ENDINGS else [(str(path), str(path))]


def _note(line: str) -> None:
    """Print a line that is no answer."""
    print(f"softtf: {line}", file=sys.stderr)
