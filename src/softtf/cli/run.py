"""`softtf run`: learn a stream from a recipe, a file of texts or a config.yaml."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from softtf.cli.options import Run
from softtf.cli.options.command import UNPREFIXED
from softtf.cli.parse import glimpse
from softtf.cli.quickstart import finish, free
from softtf.cli.results import show
from softtf.cli.seeds import place, run_seeds
from softtf.config.dotted import with_settings
from softtf.config.yaml import load_yaml
from softtf.devices.launch import launched
from softtf.devices.processes import join, told
from softtf.errors import UserError, reason_of
from softtf.files.reading import read_text
from softtf.recipes.presets import OWN_TEXTS, RECIPES
from softtf.recipes.recipes import recipe_named, run_of_file
from softtf.recipes.texts import TASK, file_settings, own_file, tasks_of_file
from softtf.runs.config import RunConfig
from softtf.runs.run import start
from softtf.screen import Screen


@dataclass(frozen=True, kw_only=True)
class RunSettings(Run):
    """Learn a stream of tasks. What a recipe sets is the default of each setting."""

    settings: Annotated[RunConfig, UNPREFIXED]


@dataclass(frozen=True)
class _Columns:
    source: str | None = None
    task_column: str | None = TASK
    label_column: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Glimpse(Run):
    """The options that choose the recipe and the columns of a file."""

    stream: _Columns = field(default_factory=_Columns)


def settings(args: list[str]) -> RunSettings:
    """Return all settings of the run that the words name, without the changes that the words make.

    Raises:
        UserError: they name no recipe, or what they name cannot be read.
    """
    words = glimpse(_Glimpse, args, "softtf run")
    if words.config:
        return RunSettings(settings=_read_config(words.config))
    if words.recipe is None:
        raise UserError(f"name a recipe, or give --config FILE; recipes: {', '.join(RECIPES)}")
    given = {f"stream.{name}": value for name, value in vars(words.stream).items()}
    given["stream.source"] = words.source or words.stream.source
    file = file_settings(words.recipe, given)
    config = recipe_named(OWN_TEXTS if file else words.recipe, words.method, words.scale)
    return RunSettings(settings=with_settings(config, file))


def run(options: RunSettings) -> int:
    """Learn a stream."""
    if options.config and (options.recipe or options.method or options.scale != "full"):
        raise UserError("--config names the whole run; leave out the recipe, --method and --scale")
    console = Screen(quiet=options.quiet)
    short = {"stream.source": options.source, "backbone.name": options.backbone, "evaluate.policies": options.policy}
    config = with_settings(options.settings, {name: value for name, value in short.items() if value})
    if options.recipe and (file := own_file(options.recipe, config.stream.source)):
        console.print(tasks_of_file(file, config.stream), soft_wrap=True)
    seeds = (config.seed,) if options.seed is None else options.seed
    if not seeds:
        raise UserError("--seed needs at least one number")
    if len(seeds) > 1:
        if launched() > 1:
            raise UserError(f"--seed: a run on several devices takes one seed, not {len(seeds)}; start one run a seed")
        run_seeds(config, seeds, options.output, console)
        return 0
    config = replace(config, seed=seeds[0])
    join(config.device)
    path = place(config)
    path = Path(told(str(options.output or (free(path) if options.config else path))))
    rows = finish(lambda: start(config, path, console), path, path)
    show(rows, config, path, console)
    return 0


def _read_config(file: Path) -> RunConfig:
    try:
        return run_of_file(load_yaml(read_text(file), str(file)), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {reason_of(error)}") from None
