"""The answer to one input, as a line, as JSON, or as the cells of a table."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from softtf.errors import visible
from softtf.files.label_json import encode_label

NO_LABEL = "(unknown)"


@dataclass(frozen=True)
class AnswerRow:
    """One input, and its answer or why there is none.

    Attributes:
        kind: `file` or `text`.
        name: of the file or row, or the text itself.
        error: why there is no answer; then nothing of what follows.
        label: the answer; None where the input is rejected as unknown.
        confidence: the probability of the likeliest label.
        task: the task named, from 1.
        unknown: how unknown it is (`ContinualClassifier.predict_unknown`); None if nobody asked.
        top: the likeliest labels with their probabilities, if more than one is asked for.
    """

    kind: str
    name: str
    error: str | None = None
    label: Hashable = None
    confidence: float = 0.0
    task: int = 0
    unknown: float | None = None
    top: tuple[tuple[Hashable, float], ...] = ()

    def json(self) -> dict[str, Any]:
        """Return it as an object of JSON; `label` is null where the input is rejected."""
        if self.error is not None:
            return {self.kind: self.name, "error": self.error}
        label = None if self.label is None else encode_label(self.label)
        row = {self.kind: self.name, "label": label, "confidence": self.confidence, "task": self.task}
        if self.unknown is not None:
            row["unknown"] = self.unknown
        if self.top:
            row["top"] = [{"label": encode_label(label), "confidence": value} for label, value in self.top]
        return row

    def line(self) -> str:
        """Return it as a line with tabs."""
        shown = " ".join(self.name.split()) if self.kind == "text" else self.name
        cells = [visible(shown), self._shown(self.label), f"{self.confidence:.3f}", f"task {self.task}"]
        if self.unknown is not None:
            cells.append(f"unknown {self.unknown:.3f}")
        return "\t".join(cells + [f"{self._shown(label)} {value:.3f}" for label, value in self.top[1:]])

    def cells(self, top: int) -> dict[str, Any]:
        """Return it as a row of a table with the columns of `columns(kind, top)`; None where there is nothing."""
        labels = [(str(label), value) for label, value in self.top[1:]]
        label = None if self.label is None else str(self.label)
        answered = self.error is None
        found = [label, self.confidence, self.task] if answered else [None, None, None]
        others = [cell for pair in labels for cell in pair]
        rest = others + [None] * (2 * (top - 1) - len(others))
        return dict(zip(columns(self.kind, top), [self.name, *found, self.unknown, *rest, self.error], strict=True))

    @staticmethod
    def _shown(label: Hashable) -> str:
        return NO_LABEL if label is None else visible(str(label))


def columns(kind: str, top: int) -> list[str]:
    """Return the names of a table's columns; top: how many labels a row has."""
    more = [name for n in range(2, top + 1) for name in (f"label_{n}", f"confidence_{n}")]
    return [kind, "label", "confidence", "task", "unknown", *more, "error"]
