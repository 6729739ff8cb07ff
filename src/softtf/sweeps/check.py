"""Every run is checked before the first begins: hours later, a wrong word in the last one would be dear."""

from collections.abc import Sequence
from dataclasses import replace

from softtf.config.tree import to_yaml
from softtf.errors import UserError
from softtf.runs.run import prepare
from softtf.screen import Screen
from softtf.streams import TaskStream
from softtf.sweeps.job import Job
from softtf.sweeps.work import check_same


def check_jobs(jobs: Sequence[Job], here: bool = True) -> None:
    """Refuse runs of which one could not begin. Runs that differ in their seed alone are checked once.

    Data sets and backbones are loaded, and nothing is learned. A single run is left to itself: it begins with the same
    checks.

    Args:
        jobs: the runs; finished ones are not looked at.
        here: whether they run on this machine, so that it must have their device.

    Raises:
        UserError: it names the run and what is wrong with it.
    """
    unfinished = [job for job in jobs if not job.finished]
    for job in unfinished:
        check_same(job.config, job.path)
    if len(unfinished) == 1 and here:
        return
    configs = {to_yaml(replace(job.config, seed=0)): job for job in unfinished}
    streams: dict[str, TaskStream] = {}
    for job in sorted(configs.values(), key=lambda job: to_yaml(job.config.stream)):  # each data set once
        config = job.config if here else replace(job.config, device="cpu")
        try:
            stream = config.stream.located()
            if to_yaml(stream) not in streams:
                streams = {to_yaml(stream): stream.build()}  # one at a time is kept: data may be large
            prepare(config, job.path, Screen(quiet=True), streams[to_yaml(stream)])
        except UserError as error:
            raise UserError(f"{job.title or job.path}: {error}") from error
