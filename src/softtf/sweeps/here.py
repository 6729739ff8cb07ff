"""Runs one after another, in this process."""

from pathlib import Path

from softtf.screen import Screen
from softtf.sweeps.queue import TRIES, Attempt
from softtf.sweeps.work import Outcome, do, outcome_of


class Here:
    """Does one run at a time in this process, which shows it.

    Args:
        console: shows each run.
    """

    places, at_once, apart, patience, elsewhere = 1, 1, False, TRIES, False

    def __init__(self, console: Screen) -> None:
        self.console = console
        self.attempts: list[Attempt] = []

    def begin(self, attempt: Attempt) -> None:
        """Note the run."""
        self.attempts.append(attempt)

    def ended(self) -> list[tuple[Path, Outcome]]:
        """Do the run that was noted."""
        attempt = self.attempts.pop()
        return [(attempt.job.path, outcome_of(lambda: do(attempt.job, self.console, attempt.batch_size)))]

    def ease(self, attempt: Attempt) -> str:
        """Return nothing: there is no run beside it."""
        return ""

    def stop(self) -> None:
        """Do nothing: the run that was going on has ended with the error that brings us here."""
