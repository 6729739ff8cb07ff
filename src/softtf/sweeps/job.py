"""One run of many: its settings, its place, how far it is and how much is left."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from softtf.errors import UserError
from softtf.recipes.presets import RECIPES
from softtf.runs.config import RunConfig
from softtf.runs.folder import RunFolder
from softtf.screen import duration
from softtf.streams import STREAMS


@dataclass(frozen=True)
class Job:
    """One run of many.

    Attributes:
        config: its settings.
        path: its folder.
        title: what the user asked for by it.
        url: where its folder's copy is that counts (`softtf.sweeps.away`); None: the folder itself counts.
    """

    config: RunConfig
    path: Path
    title: str = field(default="", compare=False)
    url: str | None = None

    @property
    def finished(self) -> bool:
        """Whether its results are written."""
        return (self.path / "summary.json").exists()

    @property
    def state(self) -> str:
        """Finished, to do, or how far it is."""
        if self.finished:
            return f"finished in {duration(self.seconds)}"
        if not (self.path / "config.yaml").exists():
            return "to do"
        return f"stopped after {len(list(self.path.glob('learner/task-*.json')))} tasks"

    @property
    def results(self) -> dict[str, Any]:
        """The summary of a finished run.

        Raises:
            UserError: it cannot be read.
        """
        try:
            results = RunFolder(self.path).summary()
            results["train_seconds_from_nothing"] + results["evaluation_seconds"] + results["parameters_per_task"]
            [results["policies"][code] for code in self.config.evaluate.policies]
        except (UserError, TypeError, KeyError):
            file = self.path / "summary.json"
            raise UserError(f"{file} cannot be read; remove it and give the command again") from None
        return results

    @property
    def seconds(self) -> float:
        """The seconds of a finished run, over all its sessions."""
        results = self.results
        passed = results["train_seconds_this_run"]  # earlier versions did not tell it
        train = results["train_seconds_from_nothing"] if passed is None else passed
        return float(train + results["evaluation_seconds"])

    @property
    def examples(self) -> int | None:
        """The approximate number of training examples; None for data of the user's own."""
        stream = self.config.stream
        source = stream.source if stream.source in STREAMS else data_of(self.config.recipe)
        if not stream.datasets and source not in STREAMS:
            return None
        examples = 0
        for data in (STREAMS[name] for name in stream.datasets or (source,)):
            per_class, per_set = stream.train_per_class, stream.train_per_dataset
            most = data.num_train if per_class is None else min(data.num_train, per_class * data.num_classes)
            examples += most if per_set is None else min(most, per_set)
        return examples

    @property
    def work(self) -> int:
        """The training examples of all epochs; for data of the user's own, the epochs."""
        return (self.examples or 1) * self.config.train.epochs


def data_of(stream: str) -> str:
    """Return the name of a recipe's data for --source; the recipe's own name if the user gives the data."""
    return RECIPES[stream].settings["stream.source"] or stream


def left(jobs: Sequence[Job], at_once: int = 1) -> str:
    """Return how many runs are left, and how long they take at the speed of the finished ones, so many at once."""
    done = [job for job in jobs if job.finished]
    others = [job for job in jobs if not job.finished]
    if not done or not others:
        return f"{len(others) or 'none'} left"
    speed = sum(job.seconds for job in done) / sum(job.work for job in done)
    seconds = speed * sum(job.work for job in others) / min(at_once, len(others))
    return f"{len(others)} left, about {duration(seconds)}"


def amount(jobs: Sequence[Job]) -> str:
    """Return the work of jobs in words: training examples, or epochs for data of the user's own."""
    work = sum(job.work for job in jobs)
    known = all(job.examples is not None for job in jobs)
    return f"about {work:,} training examples, epochs counted" if known else f"{work:,} epochs"
