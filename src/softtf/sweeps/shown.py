"""What is shown while many runs go on: a line when one begins or ends, and on a terminal how far each is."""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from rich.live import Live
from rich.table import Table

from softtf.evaluation.progress import is_live
from softtf.screen import Screen, plain
from softtf.sweeps.away import BEAT, look
from softtf.sweeps.job import Job
from softtf.sweeps.state import state_of
from softtf.sweeps.storage import AwayError

BESIDE = 5
"""Lines of the terminal that the runs which go on leave to the rest."""


class Shown:
    """Shows many runs.

    Args:
        jobs: all of them.
        console: where they are shown.
    """

    def __init__(self, jobs: Sequence[Job], console: Screen) -> None:
        self.jobs, self.console = jobs, console
        self.names = {job.path: _name(job, number, len(jobs)) for number, job in enumerate(jobs, 1)}
        self.live = Live(console=console, transient=True, auto_refresh=False)
        self.looks_at, self.seen = 0.0, dict[str, str]()

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Draw meanwhile how far the runs are that go on, if this is a terminal."""
        if not is_live(self.console):
            yield
            return
        with self.live:
            yield

    def say(self, job: Job, text: str) -> None:
        """Print what became of a run."""
        self.console.print(f"{self.names[job.path]}: {text}", soft_wrap=True)

    def refresh(self, going: Collection[Path], elsewhere: bool = False) -> None:
        """Draw how far the runs are that go on; of those at a URL that are done elsewhere, what was sent."""
        if self.live.is_started:
            if elsewhere:
                self._look()
            grid = Table(box=None, padding=(0, 2, 0, 0))
            states = ((path, state_of(path)) for path in going)
            running = ((path, state.words) for path, state in states if state.kind == "running")
            for path, words in islice(running, max(1, self.console.height - BESIDE)):
                grid.add_row(plain(self.names[path]), plain(words))
            self.live.update(grid, refresh=True)

    def _look(self) -> None:
        """Copy from time to time what tells how far the runs at a URL are."""
        job = self.jobs[0]
        if job.url is not None and time.monotonic() >= self.looks_at:
            with suppress(AwayError):  # the next look may reach it
                look(job.url.rsplit("/", 2)[0], job.path.parents[1], seen=self.seen)  # of all runs
            self.looks_at = time.monotonic() + BEAT


def _name(job: Job, number: int, jobs: int) -> str:
    return f"run {number} of {jobs}, seed {job.config.seed}: {job.title or job.path}"
