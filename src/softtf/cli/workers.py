"""The workers that a command asks for: this process, several processes, or a Ray cluster."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from softtf.cli.importing import import_files
from softtf.cli.options import Many
from softtf.cli.options.command import flag
from softtf.errors import UserError
from softtf.screen import Screen
from softtf.streams.remote import is_url
from softtf.sweeps.away import at_hand, look
from softtf.sweeps.here import Here
from softtf.sweeps.job import Job
from softtf.sweeps.queue import Workers

OF_RAY = ("cpus", "gpus", "memory")


def workers_of(options: Many, console: Screen) -> Callable[[], Workers]:
    """Return a function that engages the workers of a command, once its runs are checked.

    Args:
        options: the command's.
        console: shows runs that this process does itself.

    Raises:
        UserError: the options do not go together, or Ray is missing.
    """
    prepare = partial(import_files, [path.resolve() for path in options.imports])
    if options.ray is not None:
        return _on_ray(options, options.ray, prepare)
    if unread := [name for name in options.given() if name in OF_RAY]:
        raise UserError(f"{flag(unread[0])} goes with --ray; on this machine the runs of --jobs share the cores")
    if options.jobs == 1:
        return partial(Here, console)
    from softtf.sweeps.processes import Processes

    return partial(Processes, options.jobs, prepare)


def _on_ray(options: Many, ray: tuple[str, ...], prepare: Callable[[], object]) -> Callable[[], Workers]:
    if options.jobs != 1:
        raise UserError("--jobs does not go with --ray, where the cluster's cores say how many runs go at once")
    if len(ray) > 1:
        raise UserError(f"--ray takes one address, not {' '.join(ray)!r}; write the sweep file before it")
    if find_spec("ray") is None:
        raise UserError("--ray needs Ray; install it by pip install 'softtf[ray]'")
    from softtf.sweeps.on_ray import OnRay

    return partial(OnRay, ray[0] if ray else None, prepare, options.cpus, options.gpus, options.memory)


def fetch_finished(jobs: Sequence[Job]) -> None:
    """Copy the results of finished runs from their URL, if they have one.

    Raises:
        AwayError: the URL cannot be read.
    """
    for job in jobs:
        if job.url is not None and job.finished:
            look(job.url, job.path, weights=True)


def folder_of(output: str) -> tuple[Path, str | None]:
    """Return this machine's folder for the runs of a command, and the URL that counts, if the output is at one.

    Raises:
        UserError: the output is a URL without a place, such as s3://.
    """
    if output.endswith("://"):
        raise UserError(f"--output {output} is a URL without a place; write for example {output}bucket/folder")
    return (at_hand(output), output) if is_url(output) else (Path(output), None)
