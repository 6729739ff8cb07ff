"""Do one run of many, whatever is left of it, and say how that ended."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from softtf.config.dotted import flat
from softtf.config.tree import to_dict, to_yaml
from softtf.devices.memory import is_shortage, wanted
from softtf.errors import ShortageError, UserError, first_line_of, interrupt_of, refusal_of
from softtf.files.lock import BusyError, check_idle
from softtf.files.tensors import write_atomic
from softtf.runs.config import RunConfig
from softtf.runs.folder import RunFolder
from softtf.runs.learn import learn_stream
from softtf.runs.places import NO_PLACES, Places
from softtf.runs.run import Run, reopen, start
from softtf.screen import Screen
from softtf.streams.remote import is_url
from softtf.sweeps.away import Copy
from softtf.sweeps.job import Job
from softtf.sweeps.storage import DownError

MACHINE = ("device", "feature_cache", "track")
"""Settings that a run which goes on takes from the command."""
NO_OTHER = ("recipe", "method", *MACHINE, "evaluate.batch_size")
"""Settings in which two commands for one run may differ: no answer depends on them."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a run ended.

    Attributes:
        kind: done; busy: another process works on the run; failed: it would fail again; memory: there was too little;
            killed: its process or its machine is gone; away: the storage at its URL is.
        reason: one line, but for a run that is done.
    """

    kind: Literal["done", "busy", "failed", "memory", "killed", "away"]
    reason: str = ""


def do(job: Job, console: Screen, batch_size: int | None = None) -> None:
    """Begin a run, go on with it from its checkpoint, or do nothing if it is finished.

    A run at a URL begins with what is there, and what it keeps is sent there.

    Args:
        job: the run.
        console: shows it.
        batch_size: of scoring, in place of the run's own; it changes no answer.

    Raises:
        UserError: it cannot be done.
    """
    if job.url is None:
        _do(job, console, batch_size)
        return
    copy = Copy(job.url, job.path)
    with copy.leased():
        copy.take()
        try:
            _do(job, console, batch_size, copy.send)
        except Exception:
            with suppress(UserError):  # the failure is what is told
                copy.send()
            raise
        copy.send()


def _do(job: Job, console: Screen, batch_size: int | None, kept: Callable[[], object] = lambda: None) -> None:
    if job.finished:
        return
    there = check_same(job.config, job.path)
    run = start(job.config, job.path, console) if there is None else _reopened(job, there, console)
    if batch_size is not None:
        run.config = replace(run.config, evaluate=replace(run.config.evaluate, batch_size=batch_size))
    run.kept = kept
    learn_stream(run)


def outcome_of(act: Callable[[], None]) -> Outcome:
    """Return how an attempt ended; what is no fault of the user's, of memory or of a file is raised."""
    try:
        act()
    except (MemoryError, RuntimeError, UserError, OSError) as error:
        if interrupt_of(error):
            raise
        if isinstance(error, BusyError):
            return Outcome("busy", str(error))
        if isinstance(error, DownError):
            return Outcome("away", str(error))
        if isinstance(error, ShortageError):
            return Outcome("memory", str(error))
        if is_shortage(error):
            return Outcome("memory", f"there is not enough memory{wanted(error)}")
        if isinstance(error, OSError):
            return Outcome("failed", refusal_of(error))
        if not isinstance(error, UserError):
            raise
        return Outcome("failed", str(error))
    return Outcome("done")


def fault_of(error: BaseException) -> Outcome:
    """Return the outcome of a run that ended with an error of another kind, such as a fault of softtf, in one line."""
    return Outcome("failed", f"{type(error).__name__}: {first_line_of(error)}")


FILLED = ("backbone.revision", "learner.feature_id", "stream.num_tasks")
"""Settings that a run fills in if they are None, whatever its method."""


def check_same(config: RunConfig, path: Path) -> RunConfig | None:
    """Return the settings of the run that a folder holds, None without one; refuse a run of other settings.

    What a run finds out by itself may differ (`_found_out`).

    Raises:
        UserError: it names the first setting that differs.
    """
    if not (path / "config.yaml").exists():
        return None
    found = RunFolder.open(path)[1]
    wish, there = flat(to_dict(config.located())), flat(to_dict(found))
    free = {*NO_OTHER, *_found_out(config)}
    for name in {**wish, **there}:
        if name not in free and wish.get(name) != there.get(name):
            raise UserError(
                f"{path} holds a run with {name}={there.get(name)}, not {wish.get(name)}; give another folder with"
                " --output"
            )
    return found


def _found_out(config: RunConfig) -> set[str]:
    """Return the settings that are None and that a run fills in by the Hub, by the learner itself and by the data."""
    settings = flat(to_dict(config))
    names = {name for name in FILLED if settings[name] is None}
    with suppress(UserError):  # of a learner that cannot learn two classes
        before, filled = config.learner, config.learner.for_stream(2)
        own = (field.name for field in fields(before))
        names |= {f"learner.{n}" for n in own if getattr(before, n) is None and getattr(filled, n) is not None}
    return names


def resumed(path: Path, console: Screen, places: Places = NO_PLACES) -> Run:
    """Open a stopped run, repair what a crash left, and print where it continues; `places` as for `reopen`."""
    run = reopen(path, console, repair=True, places=places)
    console.print(f"resumed from task {run.model.num_tasks} of {len(run.stream)}", soft_wrap=True)
    return run


def _reopened(job: Job, there: RunConfig, console: Screen) -> Run:
    """Open a run that was begun with the settings `there`; take device, caches and trackers that are asked for now."""
    check_idle(job.path)
    config = job.config
    now = replace(there, **{name: getattr(config, name) for name in MACHINE})
    if now != there:
        write_atomic(job.path / "config.yaml", to_yaml(now))
    named = config.stream.source or ""
    backbone = config.backbone if config.backbone.paths else None  # which the user gave, as the rest
    return resumed(job.path, console, Places(named if is_url(named) else None, backbone, config.feature_cache))
