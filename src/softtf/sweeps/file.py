"""A sweep file: recipes, methods, seeds and settings, of which every combination is a run."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

from softtf.config.dotted import with_settings
from softtf.config.tree import Settings, from_dict
from softtf.config.yaml import load_yaml
from softtf.errors import UserError, reason_of
from softtf.files.plain_json import fits, read_object
from softtf.files.reading import read_text
from softtf.files.tensors import write_atomic
from softtf.recipes.methods import DEFAULT
from softtf.recipes.presets import Scale
from softtf.recipes.recipes import recipe_named
from softtf.recipes.texts import file_settings
from softtf.runs.config import RunConfig
from softtf.sweeps.job import Job
from softtf.sweeps.place import at, place
from softtf.sweeps.storage import Storage

PLAN = "sweep.json"
"""The file in a sweep's folder that names its runs."""
OWN = {"recipe": "recipes", "method": "methods", "seed": "seeds"}
"""Settings that a sweep file names by words of its own."""


@dataclass(frozen=True)
class Sweep(Settings):
    """What a sweep file says.

    Attributes:
        recipes: names of recipes.
        methods: names of methods; each learns each recipe.
        seeds: each combination is run once a seed.
        scale: as for `softtf run`.
        settings: of every run, by their dotted names, such as `train.precision`.
        vary: a list of values for each of some settings, by their dotted names; every combination is a run.
    """

    recipes: tuple[str, ...]
    methods: tuple[str, ...] = (DEFAULT,)
    seeds: tuple[int, ...] = (0,)
    scale: Scale = "full"
    settings: dict[str, Any] = field(default_factory=dict)
    vary: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("recipes", "methods", "seeds"):
            if not getattr(self, name):
                raise UserError(f"{name} is empty; name at least one")
        for name in (*self.settings, *self.vary):
            if name in OWN:
                raise UserError(f"{name} is no setting here; write {OWN[name]}: [...]")
            if name in self.settings and name in self.vary:
                raise UserError(f"{name} is in settings and in vary; leave one out")
        for name, values in self.vary.items():
            if not isinstance(values, list) or not values:
                raise UserError(f"vary: {name} must be a list of values, not {values!r}; settings are for one value")

    def jobs(self, folder: Path, url: str | None = None) -> list[Job]:
        """Return every run once, with its place in a folder, and at a URL if the output is there.

        Raises:
            UserError: a name is unknown, a value is refused, or a varied setting makes no other run; the message names
                the run.
        """
        found: dict[Path, Job] = {}
        variants: dict[Path, dict[str, Any]] = {}
        for recipe, method, *values in product(self.recipes, self.methods, *self.vary.values()):
            varied = dict(zip(self.vary, values, strict=True))
            title = ", ".join([f"{method} on {recipe}", *(f"{name}={value}" for name, value in varied.items())])
            try:
                config = _config(recipe, method, self.scale, {**self.settings, **varied})
            except UserError as error:
                raise UserError(f"{title}: {error}") from error
            for one in (replace(config, seed=seed) for seed in self.seeds):
                path = place(folder, one)
                others = variants.setdefault(path, varied)
                if same := [name for name, value in varied.items() if value != others[name]]:
                    raise UserError(
                        f"vary: {same[0]}: {others[same[0]]} and {varied[same[0]]} are the same run ({title});"
                        " put one value into settings"
                    )
                found.setdefault(path, Job(one, path, title, at(url, path)))
        return list(found.values())


def read_sweep(file: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        UserError: it cannot be read, or a key or a value is wrong.
    """
    try:
        text = read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {reason_of(error)}") from None
    return from_dict(Sweep, load_yaml(text, str(file)), str(file))


def _config(recipe: str, method: str, scale: Scale, settings: Mapping[str, Any]) -> RunConfig:
    config = recipe_named(recipe, method, scale)
    return with_settings(config, {**file_settings(recipe, settings), **settings}).located()


def name_of(job: Job, folder: Path) -> str:
    """Return the name of a run in its sweep: its folder's path within the sweep's folder."""
    return job.path.relative_to(folder).as_posix()


def save_plan(jobs: Sequence[Job], folder: Path, url: str | None = None) -> None:
    """Write which runs a sweep or a table has, for who looks at its folder.

    Those of earlier commands that were begun stay: another command may be at work on them.

    Args:
        jobs: the runs.
        folder: of the sweep on this machine.
        url: where its copy is that counts, if there is one.

    Raises:
        UserError: it cannot be written.
    """
    runs = {name_of(job, folder): job.title for job in jobs}
    with suppress(UserError):  # there is none, or it cannot be read: it is written anew
        runs |= {name: title for name, title in read_plan(folder) if name not in runs and (folder / name).exists()}
    entries = [{"name": name, "title": title} for name, title in runs.items()]
    write_atomic(folder / PLAN, json.dumps({"runs": entries}, indent=1) + "\n")
    if url is not None:
        Storage(url).send(folder / PLAN, PLAN)


def read_plan(folder: Path, given: str | None = None) -> list[tuple[str, str]]:
    """Return the name and the title of each run that `save_plan` wrote into a folder.

    Args:
        folder: of the sweep on this machine.
        given: what the user named, if it is another.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    file = folder / PLAN
    if not file.exists():
        raise UserError(f"{given or folder} is no folder of `softtf sweep` or `softtf table`: there is no {PLAN} in it")
    content = read_object(file)
    if not fits(content, {"runs": [{"name": str, "title": str}]}):
        raise UserError(f"{file} does not say which runs a sweep has; the same `softtf sweep` writes it again")
    runs = [(run["name"], run["title"]) for run in content["runs"]]
    if beyond := [name for name, _ in runs if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]:
        raise UserError(f"{file} names {beyond[0]!r}, which is not in its folder")
    return runs
