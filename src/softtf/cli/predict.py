"""`softtf predict`: label images or texts from the command line."""

import json
import os
import sys
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

from softtf.classifier import ContinualClassifier
from softtf.cli.options import Predict
from softtf.errors import UserError, visible
from softtf.files.label_json import encode_label
from softtf.inference.predict import Answers
from softtf.recipes.methods import title_of
from softtf.runs.classifier import open_classifier
from softtf.screen import say
from softtf.streams.files import ENDINGS, not_empty, read_images, read_texts
from softtf.streams.folders import parquet_files
from softtf.streams.lines import within_bounds
from softtf.streams.walk import Skipped, entries, images_below, say_skipped

Row = tuple[str, Any]
"""What to call an input, and the input."""


def run(options: Predict) -> int:
    """Label images or texts with a learner that was saved or run."""
    if not options.inputs:
        raise UserError("name what to label: softtf predict DIR FILE|FOLDER|TEXT...")
    model = open_classifier(
        options.folder,
        backbone=options.backbone,
        device=options.device,
        inference=options.policy,
        masks=options.masks,
    )
    if options.task is not None and not 1 <= options.task <= model.num_tasks:
        raise UserError(f"there is no task {options.task}; tasks 1 to {model.num_tasks} were learned")
    task = None if options.task is None else options.task - 1
    reads_text = model.learner.network.backbone.reads_text
    kind = "text" if reads_text else "file"
    rows, unread = _rows_of(options, reads_text)
    if options.attention is not None:
        _check_attention(options.attention, model, len(rows))

    def answer() -> Answers:
        chosen = [value for i, (_, value) in enumerate(rows) if i not in unread]
        if not chosen and unread:
            raise UserError(next(iter(unread.values())))
        groups = [0] * len(chosen) if options.pool else None
        return model.answer(chosen, groups=groups, task=task, batch_size=options.batch_size)

    try:
        answers = answer()
    except UserError:
        broken = {} if options.strict else _unreadable(model, kind, rows, unread)
        if not broken or len(broken) + len(unread) == len(rows):
            raise
        unread |= broken
        answers = answer()
    found = iter(model.named(answers))
    for i, (name, _) in enumerate(rows):
        _print(kind, name, unread[i] if i in unread else next(found), options.json)
    if options.attention is not None:
        read = [(Path(name).name, value) for i, (name, value) in enumerate(rows) if i not in unread]
        policy = "oracle (task given)" if task is not None else model.inference.title() + ", pooled" * options.pool
        _draw_attention(options.attention, model, read, answers, policy)
    return 1 if unread else 0


def _rows_of(options: Predict, reads_text: bool) -> tuple[list[Row], dict[int, str]]:
    """Return what is to be labelled, and which rows stand for inputs that cannot be read, and why.

    Raises:
        UserError: so it is of the only input, or of any if options are strict.
    """
    rows: list[Row] = []
    unread: dict[int, str] = {}
    for name in options.inputs:
        try:
            rows += _texts(name, options.input_column) if reads_text else _images(Path(name), options.input_column)
        except UserError as error:
            if options.strict or len(options.inputs) == 1:
                raise
            unread[len(rows)] = str(error)
            rows.append((name, None))
    return rows, unread


def _unreadable(model: ContinualClassifier, kind: str, rows: list[Row], known: dict[int, str]) -> dict[int, str]:
    """Return which of the rows, but those that are known, cannot be read, and why."""
    preparation = model.learner.network.backbone.preparation
    found: dict[int, str] = {}
    for i, (name, value) in enumerate(rows):
        if i in known:
            continue
        try:
            preparation.load_test(value, kind if name == value else name)
        except UserError as error:
            found[i] = str(error)
    return found


def _check_attention(output: Path, model: ContinualClassifier, count: int) -> None:
    """Refuse, before anything is answered, what cannot be drawn."""
    from softtf.figures.attention import check_images
    from softtf.figures.style import check_ending

    check_ending(output)
    check_images(model, count)


def _draw_attention(output: Path, model: ContinualClassifier, images: list[Row], answers: Answers, policy: str) -> None:
    """Write the attention maps of images, and their numbers."""
    from softtf.figures import save
    from softtf.figures.attention import maps_of

    maps = maps_of(model, images, answers, title_of(model.header.learner.kind))
    weights = model.header.backbone.weights_title(model.header.backbone_sha256)
    about = f"Policy: {policy}; seed: {model.header.seed}; backbone: {weights}. {maps.caption}"
    found = replace(maps, caption=about)
    numbers = save("attention", found, output)
    _note(f"attention maps: {output}; their numbers: {numbers}")


def _print(kind: str, row: str, answer: tuple[Hashable, float, int] | str, as_json: bool) -> None:
    """Print one row's answer, or why there is none."""
    if isinstance(answer, str):
        if as_json:
            _print_json({kind: row, "error": answer})
        else:
            _note(f"not answered: {' '.join(answer.split())}")
        return
    label, confidence, named = answer
    if as_json:
        _print_json({kind: row, "label": encode_label(label), "confidence": confidence, "task": named + 1})
    else:
        shown = " ".join(row.split()) if kind == "text" else row
        say("\t".join([visible(shown), visible(str(label)), f"{confidence:.3f}", f"task {named + 1}"]))


def _print_json(row: dict[str, Any]) -> None:
    """Print a row as JSON, which escapes all that is not ASCII but DEL."""
    say(json.dumps(row).replace("\x7f", "\\u007f"))


def _texts(name: str, column: str | None) -> list[Row]:
    """Return the texts of a file or a folder of parquet files, the lines of stdin for `-`, or the text itself."""
    if name == "-":
        texts = not_empty(within_bounds(sys.stdin.buffer, "standard input"))
    elif os.path.isfile(name):
        texts = read_texts(Path(name), column)
    elif os.path.isdir(name):
        if not (files := _parquet(Path(name))):
            raise UserError(
                f"{name} is a folder without parquet files; give texts, files of texts, or - for the lines of stdin"
            )
        texts = [text for file in files for text in read_texts(file, column)]
    elif os.path.exists(name):
        raise UserError(f"{name} is a pipe or a device, not a file; give a file, or - for the lines of stdin")
    elif name.lower().endswith((".txt", *ENDINGS)) and " " not in name:
        raise UserError(f"there is no file {name}")
    else:
        texts = [name]
    return [(text, text) for text in texts]


def _images(path: Path, column: str | None) -> list[Row]:
    """Return the image of a file, those of a file of rows, or those of a folder.

    A folder's are those of its parquet files, as in training, else those anywhere below it, sorted.
    """
    if path.is_dir():
        if tables := _parquet(path):
            return [row for file in tables for row in read_images(file, column)]
        files = images_below(path, skipped := Skipped())
        say_skipped(_note, str(path), skipped)
        if not files:
            raise UserError(f"there is no image in folder {path}")
        return [(str(file), str(file)) for file in files]
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link to {os.readlink(path)}, which is not there")
    if not path.exists():
        raise UserError(f"there is no file or folder {path}")
    return read_images(path, column) if path.suffix.lower() in ENDINGS else [(str(path), str(path))]


def _parquet(folder: Path) -> list[Path]:
    """Return a folder's parquet files; if there are any, a note tells how many other entries are skipped."""
    files = parquet_files(folder, "", Skipped())
    if files and (others := len(entries(folder, Skipped())) - len(files)):
        _note(f"{folder}: answers its parquet files, as training reads them; {others} other entries are skipped")
    return files


def _note(line: str) -> None:
    """Print a line that is no answer."""
    say(f"softtf: {line}", error=True)
