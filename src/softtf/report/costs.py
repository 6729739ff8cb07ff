"""What each task cost: seconds from the run's log, bytes from its learner's files."""

from dataclasses import dataclass

from softtf.report.found import RunResult
from softtf.saving.manifest import Manifest, shared_tensors, task_tensors


@dataclass(frozen=True)
class TaskCost:
    """A task's cost.

    Attributes:
        train_seconds: seconds that its training took in this run.
        train_from_nothing: the same without features kept from earlier runs.
        test_seconds: seconds that the evaluation after it took, with all policies.
        own_bytes: size of its own parameters on disk.
        shared_bytes: size of what all tasks share, at that time.
    """

    train_seconds: float
    train_from_nothing: float
    test_seconds: float
    own_bytes: int
    shared_bytes: int


def task_costs(run: RunResult) -> list[TaskCost]:
    """Return the cost of each task that was evaluated."""
    manifest = Manifest.read(run.folder.learner)

    def size(name: str) -> int:
        return manifest.path(name)[0].stat().st_size if name in manifest.parts else 0

    costs = []
    for task in range(run.evaluated):
        events = [event for event in run.events if event["task"] == task]
        training = [e for e in events if e["event"] in ("epoch", "consolidation")]
        passed, kept = sum(e["seconds"] for e in training), sum(e.get("kept", 0.0) for e in training)
        wall = sum(e.get("wall", 0.0) for e in events if e["event"] == "evaluation")
        costs.append(TaskCost(passed, passed + kept, wall, size(task_tensors(task)), size(shared_tensors(task))))
    return costs
