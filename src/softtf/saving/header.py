"""learner.json: everything about a saved learner except its tasks."""

from dataclasses import dataclass
from pathlib import Path

from softtf.backbones.load import BackboneSpec
from softtf.config.tree import from_dict, to_dict
from softtf.devices.device import Precision
from softtf.files.tensors import write_atomic
from softtf.learners.spec import BEFORE_STATISTICS, LearnerSpec
from softtf.saving.manifest import FORMAT, HEADER, Manifest, check_format, seal
from softtf.training.config import TrainConfig


@dataclass(frozen=True)
class Header:
    """The contents of `learner.json`: everything except the tasks.

    train, inference, precision: how it learns on and answers, as given to `ContinualClassifier`. None of the first two
    means the learner's defaults; headers of earlier versions have none of the three.
    """

    backbone: BackboneSpec
    backbone_sha256: str
    learner: LearnerSpec
    seed: int
    allow_repeated: bool
    train: TrainConfig | None = None
    inference: str | None = None
    precision: Precision = "float32"

    def write(self, folder: Path) -> None:
        """Write `learner.json` for a learner that is saved task by task."""
        write_atomic(folder / HEADER, self.text(manifest=False))

    def text(self, manifest: bool) -> str:
        """Return the text of `learner.json`; manifest: whether the learner needs a `manifest.json` to be complete."""
        return seal({"format": FORMAT, "manifest": manifest, **to_dict(self)})

    def differing(self, other: "Header", *more: str) -> list[str]:
        """Return the fields, out of backbone, method, seed and `more`, in which another header differs."""
        fields = ("backbone_sha256", "learner", "seed", *more)
        return [name for name in fields if getattr(self, name) != getattr(other, name)]

    @classmethod
    def read(cls, source: Path | Manifest) -> "Header":
        """Read the header from a learner's folder, or through a manifest that is loaded already.

        Raises:
            UserError: it is missing, broken, or of a newer format.
        """
        manifest = source if isinstance(source, Manifest) else Manifest.read(source)
        content = manifest.json(HEADER)
        check_format(content, manifest.path(HEADER)[0])
        for name in ("format", "manifest", "tasks"):  # softtf 0.1 wrote how many tasks there are
            content.pop(name, None)
        if isinstance(content.get("learner"), dict):
            content["learner"] = {**BEFORE_STATISTICS, **content["learner"]}
        return from_dict(cls, content, HEADER)
