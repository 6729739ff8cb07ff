"""`softtf compare --source DATA`: does it pay on these data to learn task by task, or to train on all at once?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from softtf.cli.options import Compare
from softtf.cli.quickstart import free
from softtf.cli.results import tell_page
from softtf.cli.seeds import one_by_one
from softtf.cli.settings import named_settings
from softtf.config.dotted import with_settings
from softtf.errors import UserError
from softtf.recipes.methods import DEFAULT
from softtf.recipes.presets import OWN_IMAGES, OWN_TEXTS, TO_THE_END
from softtf.recipes.recipes import recipe_named
from softtf.recipes.texts import file_settings, own_file
from softtf.report.costs import task_costs
from softtf.report.found import RunResult, read_run
from softtf.runs.config import RunConfig
from softtf.runs.seconds import seconds_of
from softtf.screen import Screen, duration, plain
from softtf.streams.files import count_values
from softtf.streams.sources import check_source
from softtf.sweeps.job import Job

TASK_BY_TASK = ("ncm", "ranpac", "layup", DEFAULT)
AT_ONCE = ("linear-head", "ft")
OF_ALL = ("stream.", "backbone.", "device", "feature_cache", "seed")  # settings that every method has
ANEW = {"stream.num_tasks": 1, "stream.task_column": None, **TO_THE_END}
TITLE = "Each sample answered alone; percent of the test data of all tasks, after the last task"


@dataclass(frozen=True)
class Trial:
    """One method on the data.

    Attributes:
        run: what it found.
        at_once: whether it saw all data as one task.
    """

    run: RunResult
    at_once: bool

    @property
    def method(self) -> str:
        """The method's title, and how it learned."""
        epochs = self.run.config.train.epochs
        return f"{self.run.method}, all at once in {epochs} epochs" if self.at_once else self.run.method

    @property
    def pooled(self) -> float:
        """The percentage of all test samples that are answered correctly."""
        return self.run.headline.matrix.pooled

    @property
    def variance(self) -> float:
        """The variance of `pooled` over draws of the test data."""
        return self.pooled * (100 - self.pooled) / sum(self.run.headline.matrix.total)

    @property
    def update(self) -> float:
        """The seconds, from nothing, that learning the newest data took: the last task, or all data at once."""
        training = [event for event in self.run.events if event["event"] in ("epoch", "consolidation")]
        return seconds_of([event for event in training if event["task"] == training[-1]["task"]]).train_from_nothing

    @cached_property
    def size(self) -> int:
        """The bytes of the learner's tensors on disk: those of each task, and the newest of what tasks share."""
        costs = task_costs(self.run)
        return sum(cost.own_bytes for cost in costs) + costs[-1].shared_bytes


def run(options: Compare, source: str) -> int:
    """Make every run that is not finished, then print the table and the verdict."""
    settings = configs(options, source)
    folder = options.output or free(Path("runs") / "compare")
    console = Screen()
    one_by_one([Job(config, folder / name, name) for name, config in settings.items()], console)
    trials = [Trial(read_run(folder / name), name in AT_ONCE) for name in settings]
    console.print(rendered(trials))
    console.print(plain(verdict(trials)), soft_wrap=True)
    tell_page([folder], console)
    return 0


def configs(options: Compare, source: str) -> dict[str, RunConfig]:
    """Return the settings of each run, by the name of its folder.

    Raises:
        UserError: the data cannot be read, or a setting is unknown or not one of all methods.
    """
    recipe = options.recipe or (OWN_IMAGES if _are_images(source) else OWN_TEXTS)
    given = named_settings(options.set)
    training = {name: given.pop(name) for name in list(given) if name.startswith("train.")}
    if other := [name for name in given if not name.startswith(OF_ALL)]:
        raise UserError(
            f"--set {other[0]}: not every method has it; set what begins with {', '.join(OF_ALL)} or train."
        )
    if "stream.source" in given:
        raise UserError("--set stream.source: give --source")
    if training and not options.at_once:
        raise UserError(f"--set {min(training)}: what learns task by task trains nothing; leave out --no-at-once")
    if own_file(recipe, source) is None:
        check_source(source)  # before any method is at work, whose fault it would seem
    given["stream.source"] = source
    data = {**file_settings(recipe, given), **given}
    settings = dict.fromkeys(TASK_BY_TASK, data)
    if options.at_once:
        settings |= dict.fromkeys(AT_ONCE, {**data, **ANEW, **training})
    return {
        method: with_settings(recipe_named(recipe, method, options.scale), changes)
        for method, changes in settings.items()
    }


def _are_images(source: str) -> bool:
    """Return whether a user's data are images; a file of rows is of images if it has a column `image`."""
    file = own_file(OWN_TEXTS, source)
    return file is None or "image" in count_values(file, ["image"])


def rendered(trials: Sequence[Trial]) -> Table:
    """Return the trials as a table, the most accurate first."""
    grid = Table(box=SIMPLE_HEAD, title=plain(TITLE), title_justify="left", show_edge=False)
    grid.add_column("Method")
    for heading in ("Right %", "Forget %", "To learn all", "For the newest data", "MB on disk"):
        grid.add_column(heading, justify="right")
    for trial in sorted(trials, key=lambda trial: -trial.pooled):
        forget = "–" if trial.at_once else f"{trial.run.headline.matrix.forget:.1f}"
        times = (duration(trial.run.train_seconds), duration(trial.update))
        grid.add_row(*map(plain, (trial.method, f"{trial.pooled:.1f}", forget, *times, megabytes(trial))))
    return grid


def megabytes(trial: Trial) -> str:
    """Return the size of a trial's learner on disk."""
    return f"{trial.size / 1e6:,.2f}"


def verdict(trials: Sequence[Trial]) -> str:
    """Say whether learning task by task pays, if by two standard errors, and what takes less disk."""
    best, *smaller = smallest_first([trial for trial in trials if not trial.at_once])[::-1]
    return " ".join([_pays(best, [trial for trial in trials if trial.at_once]), *map(_takes, smaller)])


def smallest_first(trials: Sequence[Trial]) -> list[Trial]:
    """Return those trials that are more accurate than each that takes no more disk; the last is the most accurate."""
    found: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.size, -trial.pooled)):
        if not found or trial.pooled > found[-1].pooled:
            found.append(trial)
    return found


def _takes(trial: Trial) -> str:
    return f"With {megabytes(trial)} MB on disk {trial.method} has {trial.pooled:.1f}%."


def _pays(best: Trial, others: Sequence[Trial]) -> str:
    answer = f"{best.method}: {best.pooled:.1f}% right, its newest task learned in {duration(best.update)}"
    if not others:
        return f"Task by task, the most accurate is {answer}."
    other = max(others, key=lambda trial: trial.pooled)
    points = best.pooled - other.pooled
    again = f"training anew on all data ({other.method}: {other.pooled:.1f}% in {duration(other.update)})"
    if abs(points) <= 2 * sqrt(best.variance + other.variance):
        return f"Learning task by task ({answer}) is level with {again}."
    if points > 0:
        return f"Learning task by task pays ({answer}). It is {points:.1f} points above {again}."
    return (
        f"Learning task by task ({answer}) is {-points:.1f} points below {again}. It pays where old data may not be"
        " kept, or where the time counts."
    )
