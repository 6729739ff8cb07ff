"""The counts of right answers after each task of a run: accuracy/after-001.json.

Each file is sealed (`softtf.saving.manifest.seal`) and contains the hash of the learner after the task. So a changed
count is refused, as is a file or a learner of another run. Files of softtf 0.1 have no such hash and are not checked.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softtf.config.bounds import whole_number
from softtf.errors import UserError
from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.evaluation.evaluate import Score
from softtf.files.plain_json import fits, read_object, read_small
from softtf.files.tensors import write_atomic
from softtf.inference.policy import Policy, parse_policy
from softtf.saving.manifest import HEADER, UNSEALED, Manifest, seal, task_json, unsealed

FORM = {str: {"correct": [int], "total": [int], "task_correct": (None, [int])}}


class RunScores:
    """The files of counts in a run's folder.

    Args:
        folder: where they are.
        learner: the folder of the run's learner.
    """

    def __init__(self, folder: Path, learner: Path) -> None:
        self.folder, self.learner = folder, learner

    def file(self, task: int) -> Path:
        """Return the file of the counts after a task; task: from 0."""
        return self.folder / f"after-{task + 1:03d}.json"

    def has(self, task: int) -> bool:
        """Say whether the evaluation after `task` is on disk."""
        return self.file(task).exists()

    def counted(self) -> int:
        """Return the number of the last task with counts, from 1; 0 if there is none."""
        names = (file.stem.removeprefix("after-") for file in self.folder.glob("after-*.json"))
        return max((whole_number(name) or 0 for name in names), default=0)

    def check_nothing_lost(self, counted: int, finished: int) -> None:
        """Refuse a learner with fewer tasks than the run had: files of its last tasks are missing.

        Args:
            counted: what `counted` returned before the learner was loaded; the run may be in progress.
            finished: how many tasks the learner has.

        Raises:
            UserError: it has fewer.
        """
        if counted > finished:
            raise UserError(
                f"{self.learner} lacks {task_json(finished)}, but {self.file(counted - 1)} counts answers of task"
                f" {counted}; `softtf resume {self.folder.parent}` learns again what is gone"
            )

    def save(self, task: int, scores: Mapping[Policy, Score]) -> None:
        """Write the counts after a task. The seconds go to the log, so this file is the same when a run is repeated."""
        counts = {
            p.code: {"correct": s.correct, "task_correct": s.task_correct, "total": s.total} for p, s in scores.items()
        }
        content = {"learner": Manifest.read(self.learner).after(task + 1).identity, "policies": counts}
        write_atomic(self.file(task), seal(content))

    def check(self, finished: int) -> None:
        """Refuse counts that are not those of the finished tasks; missing ones are counted again later.

        Raises:
            UserError: a file is damaged, or of another learner.
        """
        manifest = Manifest.read(self.learner)
        for task in filter(self.has, range(finished)):
            self._read(task, manifest)

    def matrices(self, tasks: int) -> dict[str, AccuracyMatrix]:
        """Return the accuracy matrix of each policy over the first `tasks` tasks, by policy code.

        Raises:
            UserError: a file cannot be read, is of another learner, or does not fit the others.
        """
        matrices: dict[str, AccuracyMatrix] = {}
        manifest = Manifest.read(self.learner)
        for task in range(tasks):
            file, rows = self.file(task), self._read(task, manifest)
            if not fits(rows, FORM) or (matrices and rows.keys() != matrices.keys()):
                raise UserError(f"{file} cannot be read: it does not hold counts of right answers, one row per policy")
            for code, row in rows.items():
                try:
                    parse_policy(code)
                    matrix = matrices.setdefault(code, AccuracyMatrix())
                    matrix.add_row(row["correct"], row["total"], row["task_correct"])
                except UserError as error:
                    raise UserError(f"{file} cannot be read: {error}") from None
        return matrices

    def _read(self, task: int, manifest: Manifest) -> dict[str, Any]:
        """Return the counts after a task, by policy code; those of another learner are refused."""
        file = self.file(task)
        content = read_object(file)
        if "learner" not in content and manifest.json(HEADER)["format"] == UNSEALED:
            return content
        content = unsealed(read_small(file), file)
        if content.get("learner") != manifest.after(task + 1).identity:
            raise UserError(f"{file} is of another run: it counts the answers of another learner than {self.learner}")
        counts = content.get("policies")
        return counts if isinstance(counts, dict) else {}
