"""`softtf predict`: label images or texts from the command line."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from softtf.classifier import ContinualClassifier
from softtf.cli.answer_files import answers_file, check_ending, json_line
from softtf.cli.answer_rows import AnswerRow
from softtf.cli.options import Predict
from softtf.cli.predict_inputs import Row, rows_of
from softtf.errors import UserError
from softtf.evaluation.progress import bar
from softtf.inference.explaining import ranked
from softtf.inference.predict import Answers
from softtf.inference.predictor import labels_of
from softtf.recipes.methods import title_of
from softtf.runs.classifier import open_classifier
from softtf.saying import note, say
from softtf.screen import Screen

AT_ONCE = 16  # batches that are answered before their answers are shown


def run(options: Predict) -> int:
    """Label images or texts with a learner that was saved or run."""
    if not options.inputs:
        raise UserError("name what to label: softtf predict DIR FILE|FOLDER|TEXT...")
    if options.output is not None:
        check_ending(options.output)
        if options.json:
            raise UserError("--json prints the answers and --output writes them; give one of them")
    if options.unknown == "answer" and "false_rejection" in options.given():
        raise UserError("--false-rejection goes with --unknown reject")
    model = open_classifier(
        options.folder,
        backbone=options.backbone,
        device=options.device,
        inference=options.policy,
        memory_limit=options.memory_limit,
    )
    if options.task is not None and not 1 <= options.task <= model.num_tasks:
        raise UserError(f"there is no task {options.task}; tasks 1 to {model.num_tasks} were learned")
    rows, unread = rows_of(options, model.learner.network.backbone.reads_text)
    if options.attention is not None:
        _check_attention(options.attention, model, len(rows))
    return Predicting(model, options, rows, unread).run()


class Predicting:
    """Answers rows a few batches at a time, and shows each one's answers at once.

    Args:
        model: answers.
        options: of the command.
        rows: what to label.
        unread: by place, why a row cannot be read, as far as that is known.
    """

    def __init__(self, model: ContinualClassifier, options: Predict, rows: list[Row], unread: dict[int, str]) -> None:
        self.model, self.options, self.rows, self.unread = model, options, rows, unread
        self.kind = "text" if model.learner.network.backbone.reads_text else "file"
        self.answered = 0

    def run(self) -> int:
        """Answer all rows; the exit code is 1 if some could not be read.

        Raises:
            UserError: none can be read, or one cannot and options are strict.
        """
        output = self.options.output
        with ExitStack() as stack:
            shown = stack.enter_context(bar(Screen(stderr=True), output is not None))
            shown_rows = shown.add_task("answered", total=len(self.rows))
            write: Callable[[list[AnswerRow]], None] = self._print
            if output is not None:
                write = stack.enter_context(answers_file(output, self.kind, self.options.top_k))
            for places in self._chunks():
                found = self._answer(places)
                write(found)
                if output is not None:
                    self._tell_unread(found)
                shown.update(shown_rows, advance=len(places))
            if not self.answered:
                raise UserError(f"none of {len(self.rows)} inputs can be read; the first: {self.unread[0]}")
        if output is not None:
            say(f"{output}: {self.answered} answers" + (f", {len(self.unread)} not answered" if self.unread else ""))
        return 1 if self.unread else 0

    def _chunks(self) -> Iterator[range]:
        """Yield the places of rows that are answered together: all, where evidence is pooled or one stops all."""
        count, size = len(self.rows), self.options.batch_size * AT_ONCE
        group = self.model.inference.pooling.group
        size = max(1, size // group) * group
        whole = self.options.pool or self.options.strict or self.options.attention is not None
        if whole or (group > 1 and self.unread):
            size = count
        for first in range(0, count, max(1, size)):
            yield range(first, min(first + size, count))

    def _answer(self, places: range) -> list[AnswerRow]:
        """Answer some rows; those that cannot be read are found, and the others answered."""
        try:
            answers = self._answers(places)
        except UserError:
            broken = {} if self.options.strict else self._unreadable(places)
            self.unread |= broken
            readable = [i for i in places if i not in self.unread]
            if not broken or (not readable and len(places) == len(self.rows)):
                raise
            answers = self._answers(places) if readable else None
        if answers and self.options.attention is not None:
            self._draw_attention(self.options.attention, answers)
        found, rows = iter(self._rows(answers) if answers else ()), []
        for i in places:
            name = self.rows[i][0]
            unread = AnswerRow(self.kind, name, self.unread.get(i))
            rows.append(unread if i in self.unread else replace(next(found), name=name))
        return rows

    def _answers(self, places: range) -> Answers | None:
        """Return the answers to the rows that can be read; None if none can."""
        options = self.options
        chosen = [self._input(i) for i in places if i not in self.unread]
        if not chosen:
            if len(places) == len(self.rows):
                raise UserError(next(iter(self.unread.values())))
            return None
        answers = self.model.answer(
            chosen,
            groups=[0] * len(chosen) if options.pool else None,
            task=None if options.task is None else options.task - 1,
            batch_size=options.batch_size,
            unknown=options.unknown == "reject",
        )
        self.answered += len(chosen)
        return answers

    def _input(self, place: int) -> Any:
        """Return the input of a row; of an archive it is read now.

        Raises:
            UserError: the archive has no such bytes any more.
        """
        value = self.rows[place][1]
        return value() if callable(value) else value

    def _rows(self, answers: Answers) -> list[AnswerRow]:
        """Return answers as rows without names."""
        limit, k = 1 - self.options.false_rejection, self.options.top_k
        top = ranked(labels_of(answers), answers.classes.labels, k)
        rows = []
        for i, (label, confidence, task) in enumerate(self.model.named(answers)):
            unknown = None if answers.unknown is None else float(answers.unknown[i])
            kept = None if unknown is not None and unknown > limit else label
            row = AnswerRow(self.kind, "", None, kept, confidence, task + 1, unknown, top[i] if k > 1 else ())
            rows.append(row)
        return rows

    def _unreadable(self, places: range) -> dict[int, str]:
        """Return which of some rows, but those that are known, cannot be read, and why."""
        preparation = self.model.learner.network.backbone.preparation
        found: dict[int, str] = {}
        for i in places:
            if i in self.unread:
                continue
            name, value = self.rows[i]
            try:
                preparation.load_test(self._input(i), self.kind if name == value else name)
            except UserError as error:
                found[i] = str(error)
        return found

    def _print(self, rows: list[AnswerRow]) -> None:
        """Print rows, or why there is no answer."""
        for row in rows:
            if self.options.json:
                say(json_line(row))
            elif row.error is None:
                say(row.line())
            else:
                self._tell_unread([row])

    def _tell_unread(self, rows: list[AnswerRow]) -> None:
        """Say which of some rows have no answer, and why."""
        for row in rows:
            if row.error is not None:
                note(f"not answered: {' '.join(row.error.split())}")

    def _draw_attention(self, output: Path, answers: Answers) -> None:
        """Write the attention maps of images, and their numbers."""
        from softtf.figures import save
        from softtf.figures.attention import maps_of

        model, options = self.model, self.options
        images = [(Path(name).name, self._input(i)) for i, (name, _) in enumerate(self.rows) if i not in self.unread]
        maps = maps_of(model, images, answers, title_of(model.header.learner.kind))
        given = options.task is not None
        policy = "oracle (task given)" if given else model.inference.title() + ", pooled" * options.pool
        weights = model.header.backbone.weights_title(model.header.backbone_sha256)
        about = f"Policy: {policy}; seed: {model.header.seed}; backbone: {weights}. {maps.caption}"
        numbers = save("attention", replace(maps, caption=about), output)
        note(f"attention maps: {output}; their numbers: {numbers}")


def _check_attention(output: Path, model: ContinualClassifier, count: int) -> None:
    """Refuse, before anything is answered, what cannot be drawn."""
    from softtf.figures.attention import check_images
    from softtf.figures.style import check_ending as check_picture

    check_picture(output)
    check_images(model, count)
