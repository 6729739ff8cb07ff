"""The classifier of a run's folder or of a saved learner."""

from pathlib import Path

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.runs.folder import RunFolder


def learner_folder(path: Path) -> Path:
    """Return the folder of the learner in a run's folder; of a learner that was saved, that folder itself."""
    return path / "learner" if (path / "config.yaml").exists() else path


def open_classifier(
    path: Path,
    *,
    backbone: str | None = None,
    device: str = "auto",
    inference: str | None = None,
    memory_limit: int | str | None = None,
) -> ContinualClassifier:
    """Return the classifier in the folder of a run, or of a learner that was saved, with at least one task.

    Options are as for `ContinualClassifier.from_pretrained`.

    Raises:
        UserError: it cannot be loaded, a task's files are gone, or no task is finished.
    """
    is_run = (path / "config.yaml").exists()
    scores = RunFolder(path).scores
    counted = scores.counted() if is_run else 0
    model = ContinualClassifier.from_pretrained(
        learner_folder(path),
        backbone=backbone,
        device=device,
        inference=inference,
        unfinished=is_run,
        memory_limit=memory_limit,
    )
    scores.check_nothing_lost(counted, model.num_tasks)
    if not model.num_tasks:
        raise UserError(
            f"nothing was learned yet: {path} has no finished task"
            + (f"; go on with `softtf resume {path}`" if is_run else "")
        )
    return model
