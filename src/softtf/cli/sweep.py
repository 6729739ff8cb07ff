"""`softtf sweep`: every run that a sweep file asks for; `softtf sweep status`: how far they are."""

import shlex
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from softtf.cli.groups import show_groups
from softtf.cli.options import Sweep
from softtf.cli.options.command import flag
from softtf.cli.results import tell_page
from softtf.cli.workers import fetch_finished, folder_of, workers_of
from softtf.errors import UserError, unknown
from softtf.report.comparison import groups_of
from softtf.report.found import read_run
from softtf.saying import say
from softtf.screen import Screen, plain
from softtf.streams.remote import is_url
from softtf.sweeps.away import look
from softtf.sweeps.check import check_jobs
from softtf.sweeps.file import name_of, read_plan, read_sweep, save_plan
from softtf.sweeps.job import Job
from softtf.sweeps.queue import carry_out
from softtf.sweeps.state import Kind, state_of

STATUS = "status"
WIDTH = 300  # of what is not shown on a terminal: a line a run


def run(options: Sweep) -> int:
    """Do the runs of a sweep file that are not finished, and compare them; or show how far they are."""
    if options.file == STATUS:
        return _status(options)
    if options.file is None or options.folder is not None:
        raise UserError("name a sweep file: softtf sweep SWEEP.yaml; or a folder: softtf sweep status FOLDER")
    file = Path(options.file)
    output = options.output or str(Path("runs/sweeps") / file.stem)
    folder, url = folder_of(output)
    jobs = read_sweep(file).jobs(folder, url)
    if options.print:
        _refuse(options, ("jobs", "ray", "cpus", "gpus", "memory", "only"), "--print does no run")
        check_jobs(jobs, here=False)
        for job in jobs:
            say(_command(file, output, name_of(job, folder), options.imports))
        return 0
    chosen = jobs if options.only is None else _only(jobs, folder, options.only)
    console = Screen()
    engage = workers_of(options, console)
    if url is not None:
        look(url, folder)
    check_jobs(chosen, here=options.ray is None)
    failed = carry_out(chosen, engage, console, lambda: save_plan(jobs, folder, url))
    if finished := [job for job in chosen if job.finished]:
        fetch_finished(finished)
        show_groups(groups_of([read_run(job.path) for job in finished]), console)
        tell_page([folder], console)
    for path, reason in failed.items():
        say(f"failed: {path}: {reason}", error=True)
    return 2 if failed else 0


def _only(jobs: Sequence[Job], folder: Path, name: str) -> list[Job]:
    found = [job for job in jobs if name_of(job, folder) == name]
    if not found:
        raise unknown("run of the sweep", name, [name_of(job, folder) for job in jobs])
    return found


def _command(file: Path, output: str, name: str, imports: Sequence[Path]) -> str:
    """Return the command of one run; it can be given again and again, and goes on with what is left."""
    imported = [word for path in imports for word in ("--import", str(path))]
    return shlex.join(["softtf", "sweep", str(file), "--output", output, "--only", name, *imported])


def _refuse(options: Sweep, names: Sequence[str], why: str) -> None:
    if unread := [name for name in options.given() if name in names]:
        raise UserError(f"{why}; leave out {flag(unread[0])}")


def _status(options: Sweep) -> int:
    """Print how far each run of a folder is."""
    if options.folder is None:
        raise UserError("name the sweep's folder: softtf sweep status FOLDER")
    others = [name for name in options.given() if name not in ("file", "folder")]
    _refuse(options, others, "status only looks at a folder")
    with tempfile.TemporaryDirectory() as seen:
        folder = Path(options.folder)
        if is_url(options.folder):
            folder = Path(seen)
            look(options.folder, folder)
        runs = read_plan(folder, options.folder)
        states = [state_of(folder / name) for name, _ in runs]
    grid = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for (name, title), state in zip(runs, states, strict=True):
        grid.add_row(*map(plain, (state.kind, name, title, state.words)))
    console = Screen().wide(WIDTH)
    console.print(grid)
    counts = Counter(state.kind for state in states)
    kinds: tuple[Kind, ...] = ("running", "failed", "stopped", "to do")
    others = [f"{counts[kind]} {kind}" for kind in kinds if counts[kind]]
    console.print(", ".join([f"{counts['finished']} of {len(runs)} runs are finished", *others]))
    return 0
