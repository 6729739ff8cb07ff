"""The answers to all test samples after a run's last evaluated task: one file per policy.

Each tensor of a file, such as predictions/prompt-id.safetensors, holds one value per test sample, in the order of the
concatenated test sets (`Samples`). The file's metadata name the learner that answered and a SHA-256. Runs of earlier
versions have no such files; `softtf evaluate` adds them.
"""

from pathlib import Path

import torch
from torch import Tensor

from softtf.errors import UserError
from softtf.evaluation.evaluate import Samples
from softtf.files.tensors import checksum, load_metadata, load_tensors, save_tensors
from softtf.runs.config import EvaluateConfig
from softtf.saving.manifest import Manifest

TYPES = {name: torch.float32 if name == "confidence" else torch.int32 for name in Samples._fields}
LARGEST = 2**30  # bytes of a file: those of 50 million samples


def file_name(code: str) -> str:
    """Return a policy's code as the name of a file."""
    return code.replace(":", "-").replace("/", "-of-")


def way_of(code: str, settings: EvaluateConfig) -> str:
    """Return the name of a policy and of a way to score; per sample and in float32 it is the policy's alone."""
    ways = ["shuffled"] * settings.shuffle + [settings.precision] * (settings.precision != "float32")
    return "-".join([file_name(code), *ways])


class RunPredictions:
    """The files of answers in a run's folder.

    Args:
        folder: where they are.
        learner: the folder of the run's learner.
    """

    def __init__(self, folder: Path, learner: Path) -> None:
        self.folder, self.learner = folder, learner

    def file(self, way: str) -> Path:
        """Return where the answers under a policy and way to score (`way_of`) are."""
        return self.folder / f"{way}.safetensors"

    def save(self, way: str, tasks: int, samples: Samples) -> None:
        """Write the answers of the learner as it was after its first `tasks` tasks.

        Raises:
            UserError: the file cannot be written.
        """
        tensors = {name: value.to(TYPES[name]) for name, value in samples._asdict().items()}
        of = {"tasks": str(tasks), "learner": Manifest.read(self.learner).after(tasks).identity}
        save_tensors(self.file(way), tensors, of | {"sha256": checksum(tensors, *of.values())})

    def has(self, way: str, tasks: int, samples: Samples) -> bool:
        """Say whether the same answers are there, of the learner as it was after its first `tasks` tasks."""
        try:
            found = self.load(way, tasks, 2**31 - 1)
        except UserError:
            return False
        return found is not None and all(map(torch.equal, found[:4], samples[:4]))  # confidences may differ in rounding

    def load(self, way: str, tasks: int, labels: int) -> Samples | None:
        """Return the answers of the learner as it was after its first `tasks` tasks; None if there is no file.

        Args:
            way: as `way_of` names it.
            tasks: how many tasks were learned and evaluated.
            labels: how many labels these have.

        Raises:
            UserError: the file is damaged, of another learner or another number of tasks, or a value is out of bounds.
        """
        file = self.file(way)
        if not file.exists():
            return None
        if file.stat().st_size > LARGEST:
            raise UserError(f"{file} cannot be read: it has more than {LARGEST:,} bytes")
        of, tensors = load_metadata(file), load_tensors(file)
        sha256 = of.pop("sha256", None)
        if of.keys() != {"tasks", "learner"} or sha256 != checksum(tensors, of["tasks"], of["learner"]):
            raise UserError(f"{file} is not the file that was saved: its SHA-256 is not the one it names")
        if of != {"tasks": str(tasks), "learner": Manifest.read(self.learner).after(tasks).identity}:
            raise UserError(f"{file} holds the answers of another learner than {self.learner} after {tasks} tasks")
        _check(file, tensors, tasks, labels)
        return Samples(
            **{name: value if value.is_floating_point() else value.long() for name, value in tensors.items()}
        )


def _check(file: Path, tensors: dict[str, Tensor], tasks: int, labels: int) -> None:
    """Refuse tensors of another form, and numbers that name no label and no task.

    Raises:
        UserError: saying what is wrong.
    """
    forms = {name: (value.dtype, value.dim()) for name, value in tensors.items()}
    lengths = {len(value) for value in tensors.values() if value.dim()}
    if forms != {name: (dtype, 1) for name, dtype in TYPES.items()} or len(lengths) != 1 or 0 in lengths:
        raise UserError(f"{file} cannot be read: it does not hold one answer per sample")
    below = {"label": labels, "answer": labels, "task": tasks, "of_task": tasks, "confidence": 1.001}
    for name, limit in below.items():
        inside = (tensors[name] >= 0) & (tensors[name] < limit)  # NaN is neither
        if not inside.all():
            wrong = tensors[name][~inside][0].item()
            raise UserError(f"{file} cannot be read: {name} is {wrong}, which is not in 0 to {limit}")
