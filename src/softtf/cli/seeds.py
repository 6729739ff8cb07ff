"""`softtf run ... --seed 0 1 2`: one run per seed, one after another; the same command again resumes stopped ones."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from softtf.cli.groups import show_groups
from softtf.cli.quickstart import finish, resumed
from softtf.cli.results import tell_page
from softtf.cli.stopping import stopped
from softtf.config.dotted import flat
from softtf.config.tree import to_dict
from softtf.errors import UserError
from softtf.report.comparison import groups_of
from softtf.report.found import read_run
from softtf.runs.config import ELSEWHERE, RunConfig
from softtf.runs.folder import RunFolder
from softtf.runs.run import start
from softtf.screen import Screen, say


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
    for one, path in zip(configs, paths, strict=True):
        check_same(one, path)
    try:
        for one, path in zip(configs, paths, strict=True):
            complete(one, path, f"seed {one.seed}", console)
    except BaseException as error:
        if stopped(error):
            with suppress(OSError):  # of a terminal that is gone
                say("The same command goes on with this and the other seeds.")
        raise
    show_groups(groups_of([read_run(path) for path in paths]), console)
    tell_page([folder] if folder else paths, console)


def check_same(config: RunConfig, path: Path) -> None:
    """Refuse a folder that holds a run of other settings; what a run finds out by itself, None before, may differ."""
    if not (path / "config.yaml").exists():
        return
    wanted = replace(config, stream=config.stream.located(), backbone=config.backbone.located())
    there = flat(to_dict(RunFolder.open(path)[1]))
    for name, value in flat(to_dict(wanted)).items():
        if value is not None and name not in ELSEWHERE and there.get(name) != value:
            raise UserError(
                f"{path} holds a run with {name}={there.get(name)}, not {value}; give another folder with --output"
            )


def complete(config: RunConfig, path: Path, heading: str, console: Screen) -> None:
    """Do a run, or what is left of it, under a heading."""
    console.rule(heading)
    if (path / "summary.json").exists():
        console.print(f"finished before: {path}", soft_wrap=True)
    elif (path / "config.yaml").exists():
        finish(lambda: resumed(path, console), path, path)
    else:
        finish(lambda: start(config, path, console), path, path)
