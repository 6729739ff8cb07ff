"""One version of the learner that a service answers with, and its answers."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from softtf.classifier import ContinualClassifier
from softtf.devices.torch_state import with_own_settings
from softtf.files.label_json import encode_label
from softtf.inference.explaining import Ranked, ranked
from softtf.inference.predictor import labels_of
from softtf.inference.unknown import can_tell
from softtf.runs.classifier import learner_folder
from softtf.saving.manifest import Manifest
from softtf.streams.preparation import LoadedInput


@dataclass(frozen=True)
class Answer:
    """The answer for one input.

    Attributes:
        label: the likeliest.
        confidence: its probability.
        task: from 0, as inferred or given.
        probabilities: (label, probability) of the likeliest labels, the likeliest first.
        unknown: how unknown the input looks, from 0 to 1 (`predict_unknown`); None if the learner cannot tell.
    """

    label: Hashable
    confidence: float
    task: int
    probabilities: Ranked
    unknown: float | None = None

    def cut(self, top: int) -> "Answer":
        """Return it with the `top` likeliest labels alone."""
        return replace(self, probabilities=self.probabilities[:top])

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it; tasks count from 1, as on the command line."""
        likeliest = [{"label": encode_label(label), "probability": p} for label, p in self.probabilities]
        return {
            "label": encode_label(self.label),
            "confidence": self.confidence,
            "task": self.task + 1,
            "probabilities": likeliest,
            "unknown": self.unknown,
        }


@dataclass(frozen=True, eq=False)
class Version:
    """A learner that was loaded.

    Attributes:
        model: the classifier.
        identity: the SHA-256 over all its files.
    """

    model: ContinualClassifier
    identity: str

    @property
    def name(self) -> str:
        """The first characters of its identity, which tell versions apart."""
        return self.identity[:12]

    @with_own_settings
    def answers(
        self, inputs: Sequence[LoadedInput], tasks: Sequence[int] | None, top: int, batch_size: int
    ) -> list[Answer]:
        """Return the answer for each input.

        Args:
            inputs: as this version's backbone loads them.
            tasks: the task of each, from 0; None infers it.
            top: how many likeliest labels each answer has.
            batch_size: samples run at once.

        Raises:
            UserError: an answer is not a number, or there is not enough memory.
        """
        tells = can_tell(self.model.knowledge.finished)
        found = self.model.answer(list(inputs), task=tasks, batch_size=batch_size, unknown=tells)
        labels = found.classes.labels
        unknown = [None] * len(inputs) if found.unknown is None else found.unknown.tolist()
        rows = zip(ranked(labels_of(found), labels, top), found.tasks.tolist(), unknown, strict=True)
        return [Answer(*some[0], task, some, strange) for some, task, strange in rows]

    def load(self, raw: Any, where: str) -> LoadedInput:
        """Return one raw input, an image's bytes or a text, as the backbone takes it; errors name `where`.

        Raises:
            UserError: it cannot be read.
        """
        loaded: Tensor = self.model.learner.network.backbone.preparation.load_test(raw, where)
        return LoadedInput(loaded)


def load_version(folder: Path, open_model: Callable[[Path], ContinualClassifier]) -> Version:
    """Load the learner that a folder holds now; it may be replaced by another version meanwhile.

    Raises:
        UserError: it cannot be loaded.
    """
    while True:
        before = identity_of(folder)
        model = open_model(folder)
        if identity_of(folder) == before:
            return Version(model, before)


def identity_of(folder: Path) -> str:
    """Return the SHA-256 over the files of the learner that a folder holds now.

    Raises:
        UserError: there is no whole learner.
    """
    return Manifest.read(learner_folder(folder)).identity
