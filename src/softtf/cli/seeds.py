"""`softtf run ... --seed 0 1 2`: one run per seed, one after another; the same command again resumes stopped ones."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from softtf.cli.groups import show_groups
from softtf.cli.results import tell_page
from softtf.errors import TrainingError
from softtf.report.comparison import groups_of
from softtf.report.found import read_run
from softtf.runs.config import RunConfig
from softtf.screen import Screen
from softtf.sweeps.check import check_jobs
from softtf.sweeps.here import Here
from softtf.sweeps.job import Job
from softtf.sweeps.queue import carry_out
from softtf.sweeps.work import check_same


def place(config: RunConfig) -> Path:
    """Return the usual folder of a run."""
    return Path("runs") / f"{config.recipe}-{config.method}-seed{config.seed}"


def run_seeds(config: RunConfig, seeds: Sequence[int], folder: Path | None, console: Screen) -> None:
    """Do the run of each seed that is not finished, and print their comparison.

    Args:
        config: the settings of all runs but for the seed.
        seeds: one run each; one that is named twice is done once.
        folder: gets the runs as seed-0, seed-1, ...; None: each has the folder that it would have alone.
        console: shows what happens.

    Raises:
        UserError: a folder holds a run of other settings, or a run fails.
    """
    configs = [replace(config, seed=seed) for seed in dict.fromkeys(seeds)]
    paths = [folder / f"seed-{one.seed}" if folder else place(one) for one in configs]
    one_by_one([Job(one, path, str(path)) for one, path in zip(configs, paths, strict=True)], console)
    show_groups(groups_of([read_run(path) for path in paths]), console)
    tell_page([folder] if folder else paths, console)


def one_by_one(jobs: Sequence[Job], console: Screen) -> None:
    """Do runs that are not finished one after another, in the folders that they name.

    Raises:
        UserError: a folder holds a run of other settings, or a run cannot begin; none is begun.
        TrainingError: a run failed; the others are done.
    """
    for job in jobs:
        if job.finished:  # the others are checked next
            check_same(job.config, job.path)
    check_jobs(jobs)
    if failed := carry_out(jobs, partial(Here, console), console):
        path, reason = next(iter(failed.items()))
        raise TrainingError(f"{len(failed)} of {len(jobs)} runs failed; {path}: {reason}")
