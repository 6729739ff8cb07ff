"""What a classifier says of itself: what it knows, what it holds, how another one differs, and its model card."""

from softtf.config.arguments import checked
from softtf.devices.torch_state import with_own_settings
from softtf.inference.explaining import Explaining
from softtf.learners.accounts import Description, Held, audit, describe, differences
from softtf.saving.card import Measured, card_text
from softtf.saving.header import Header


class Describing(Explaining):
    """A predictor that accounts for what it knows and holds."""

    header: Header

    def __repr__(self) -> str:
        kind, backbone = self.header.learner.kind, self.header.backbone.name
        known = f"{self.num_tasks} tasks, {len(self.labels)} classes"
        return f"{type(self).__name__}({kind} on {backbone}: {known}; answers by {self.inference.code})"

    def summary(self) -> str:
        """Return `describe()` in lines, as softtf learner describe prints it."""
        return self.describe().text()

    @with_own_settings
    def describe(self) -> Description:
        """Return what is known: tasks, classes, dates, examples, parameters, bytes, method, backbone and a hash."""
        spec = self.header.backbone
        return describe(self.knowledge.finished, self.header.learner.kind, spec.name, self.header.backbone_sha256)

    @with_own_settings
    def audit(self) -> list[Held]:
        """Return everything that is stored and came from training data, and the tasks that it came from."""
        held = audit(self.knowledge.finished)
        if self.store is not None:
            words = "features of the frozen backbone of images that were learned or asked about (feature_cache)"
            held.append(Held(str(self.store.folder), words, (), 0))
        return held

    @with_own_settings
    @checked
    def diff(self, other: "Describing") -> list[str]:
        """Return, in words, how another classifier differs; empty if both answer alike, bit for bit."""
        found = [
            f"{name}: {short(getattr(self.header, name))} and {short(getattr(other.header, name))}"
            for name in self.header.differing(other.header, "inference", "precision")
        ]
        return found + differences(self.knowledge.finished, other.knowledge.finished)

    @with_own_settings
    @checked
    def card(self, measured: Measured | None = None) -> str:
        """Return the model card, in Markdown, that stands in a saved learner's README.md.

        Args:
            measured: results on test sets, to be shown in it.
        """
        return card_text(self.header, self.knowledge.finished, measured)


def short(value: object) -> str:
    """Return the first sixty characters of a value, for a message."""
    return str(value)[:60]
