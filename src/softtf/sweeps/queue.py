"""The queue of runs: which is done next, and what becomes of one that ended early."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from softtf.errors import interrupt_of
from softtf.files.tensors import write_atomic
from softtf.saying import say
from softtf.screen import Screen
from softtf.sweeps.away import look
from softtf.sweeps.job import Job, left
from softtf.sweeps.shown import Shown
from softtf.sweeps.state import epochs_of, failure_file
from softtf.sweeps.storage import DownError, Storage
from softtf.sweeps.work import Outcome

TRIES = 3
"""How often a run is tried again after one kind of mishap."""
PAUSE = 1.0
"""Seconds before a run that another process works on is tried again; twice as many each further time."""
REST = 20.0
"""Seconds before a run whose storage failed is tried again; so many more each further time."""
LOOK = 0.2
"""Seconds between two looks at a queue in which all runs rest."""


@dataclass
class Attempt:
    """A run in the queue, and what befell it so far.

    Attributes:
        job: the run.
        shortages: how often it ran out of memory.
        losses: how often its process was killed, or its storage failed, without a new epoch.
        busy: how often another process was at it.
        rests_until: when it may begin, on the monotonic clock.
        epochs: that it had learned when its process was last killed.
    """

    job: Job
    shortages: int = 0
    losses: int = 0
    busy: int = 0
    rests_until: float = 0.0
    epochs: int = -1

    @property
    def batch_size(self) -> int | None:
        """The batch of scoring, half as large after each shortage; None: the run's own."""
        return max(1, self.job.config.evaluate.batch_size >> self.shortages) if self.shortages else None


class Workers(Protocol):
    """Where runs are done.

    Attributes:
        places: how many may be begun at once.
        apart: whether they run in other processes, so that this one shows how far they are.
        patience: how often a run is tried that another process works on; that process may be about to end.
        elsewhere: whether runs at a URL are done in other folders than this command's, which so shows what is sent.
    """

    places: int
    apart: bool
    patience: int
    elsewhere: bool

    @property
    def at_once(self) -> int:
        """How many runs go on at once now, at most; for the time that is left."""

    def ease(self, attempt: Attempt) -> str:
        """Leave more memory to a run that ran out of it, before it is tried again, and say how, after a comma."""

    def begin(self, attempt: Attempt) -> None:
        """Begin a run, or go on with it."""

    def ended(self) -> list[tuple[Path, Outcome]]:
        """Wait for a moment, and return the folders of the runs that ended meanwhile, with how."""

    def stop(self) -> None:
        """Stop the runs that are going on; each keeps its last full epoch. Let go of the workers."""


def carry_out(
    jobs: Sequence[Job], engage: Callable[[], Workers], console: Screen, plan: Callable[[], None] = lambda: None
) -> dict[Path, str]:
    """Do all runs that are not finished, and show it.

    Args:
        jobs: all runs.
        engage: returns the workers; is called if there is anything to do.
        console: shows what becomes of each run.
        plan: is called once there are workers; writes which runs the folder is to have.

    Returns:
        the runs that failed or that another process works on: the reason, by folder.

    Raises:
        UserError: a run's results cannot be read, or there are no workers.
    """
    shown = Shown(jobs, console)
    for job in jobs:
        if job.finished:
            shown.say(job, f"{job.state} before")
    waiting = [Attempt(job) for job in jobs if not job.finished]
    if not waiting:
        plan()
        return {}
    workers = engage()
    queue = Queue(waiting, workers, shown)
    try:
        plan()
        with shown.drawing() if workers.apart else nullcontext():
            while queue.waiting or queue.going:
                queue.step()
    except BaseException as error:
        if interrupt_of(error):
            done = sum(job.finished for job in jobs)
            with suppress(OSError):  # of a terminal that is gone
                say(f"\nstopped; {done} of {len(jobs)} runs are finished, of the others every full epoch is kept.")
                say("The same command goes on from there.")
        raise
    finally:
        workers.stop()
    return queue.failed


class Queue:
    """The runs that wait and those that are going on."""

    def __init__(self, waiting: list[Attempt], workers: Workers, shown: Shown) -> None:
        self.waiting, self.workers, self.shown = waiting, workers, shown
        self.going: dict[Path, Attempt] = {}
        self.failed: dict[Path, str] = {}

    def step(self) -> None:
        """Begin what there is a place for, and take up what ended."""
        rested = [attempt for attempt in self.waiting if attempt.rests_until <= time.monotonic()]
        for attempt in rested[: max(0, self.workers.places - len(self.going))]:
            self.waiting.remove(attempt)
            self._begin(attempt)
        if not self.going:
            time.sleep(LOOK)
            return
        for path, outcome in self.workers.ended():
            self._ended(self.going.pop(path), outcome)
        self.shown.refresh(self.going, self.workers.elsewhere)

    def _begin(self, attempt: Attempt) -> None:
        self.going[attempt.job.path] = attempt
        _tell(attempt.job, None)
        self.shown.say(attempt.job, attempt.job.state)
        self.workers.begin(attempt)

    def _ended(self, attempt: Attempt, outcome: Outcome) -> None:
        job = attempt.job
        if job.url is not None:
            try:
                look(job.url, job.path)
            except DownError as error:
                outcome = Outcome("away", str(error))
        if outcome.kind == "done" and not job.finished:
            outcome = Outcome("busy", f"{job.path} has no results here yet; is it on storage that all machines share?")
        if outcome.kind == "done":
            self.shown.say(job, f"{job.state}; {left(self.shown.jobs, self.workers.at_once)}")
        elif (again := self._again(attempt, outcome)) is not None:
            self.waiting.append(attempt)
            if again:
                self.shown.say(job, f"{outcome.reason}; {again}")
        else:
            self.failed[job.path] = outcome.reason
            self.shown.say(job, f"{'skipped' if outcome.kind == 'busy' else 'failed'}: {outcome.reason}")
            if outcome.kind != "busy":
                _tell(job, outcome.reason)

    def _again(self, attempt: Attempt, outcome: Outcome) -> str | None:
        """Return how a run is tried again, in words; None if it is not."""
        if outcome.kind == "busy":
            attempt.rests_until = time.monotonic() + PAUSE * 2**attempt.busy
            attempt.busy += 1
            return "" if attempt.busy < self.workers.patience else None
        if outcome.kind in ("killed", "away"):
            epochs = epochs_of(attempt.job.path)
            attempt.losses = 1 if epochs > attempt.epochs else attempt.losses + 1
            attempt.epochs = max(epochs, attempt.epochs)
            if attempt.losses > TRIES:
                return None
            if outcome.kind == "away":
                attempt.rests_until = time.monotonic() + REST * attempt.losses
                return f"it goes on from the last epoch that was sent, in {REST * attempt.losses:.0f} s"
            if attempt.losses == 1:
                return "it goes on from its last full epoch"
        elif outcome.kind != "memory":
            return None
        # A process that is killed twice in an epoch may be one that the system kills for its memory.
        attempt.shortages += 1
        if attempt.shortages > TRIES:
            return None
        return f"it goes on with {attempt.batch_size} samples at once in scoring{self.workers.ease(attempt)}"


def _tell(job: Job, reason: str | None) -> None:
    """Write beside a run's folder why it failed, for who looks at it; None: that it did not."""
    file = failure_file(job.path)
    if reason is not None:
        write_atomic(file, json.dumps({"reason": reason}) + "\n")
    else:
        with suppress(OSError):
            file.unlink(missing_ok=True)
    if job.url is not None:
        storage = Storage(job.url.rpartition("/")[0])
        with suppress(DownError):  # the run tells it better
            storage.remove(file.name) if reason is None else storage.send(file, file.name)
