"""The runs behind a table. Their folders are named after their settings (`softtf.sweeps.place`): tables share runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from softtf.config.dotted import with_settings
from softtf.config.names import CLIP_VIT_B
from softtf.errors import UserError
from softtf.learners.spans import has_choice
from softtf.paper import TableRow
from softtf.recipes.presets import RECIPES, Scale
from softtf.recipes.recipes import at_scale, unscaled
from softtf.runs.config import RunConfig
from softtf.streams import STREAMS
from softtf.sweeps.job import Job, data_of
from softtf.sweeps.place import at, place
from softtf.training.data import unread_by

# What a method's name stands for, beside what a row itself says.
METHOD_SETTINGS = tuple(
    f"learner.{name}"
    for name in (
        *("adapt", "projection", "key_eps", "e_layers", "e_length", "g_layers", "g_length", "tune", "extractor", "mcg"),
        *("text_prompts", "before_norm"),
    )
)


@dataclass(frozen=True)
class Wish:
    """The command's wishes for all runs of a table.

    Attributes:
        scale: `full` or `mini`.
        sources: where data come from, by the name of the data set; the others come from the Hub.
        settings: changes by dotted name; they win over those of the rows.
        seeds: one run each.
        folder: where the runs are on this machine.
        url: where their copies are that count, if there are any (`softtf.sweeps.away`).
    """

    scale: Scale = "full"
    sources: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    folder: Path = Path("runs/tables")
    url: str | None = None


@dataclass(frozen=True)
class Cell:
    """A row on a stream: a run per seed, or the reason why there is none."""

    row: TableRow
    stream: str
    jobs: tuple[Job, ...]
    left_out: str | None = None


def plan(rows: Sequence[TableRow], streams: Sequence[str], wish: Wish) -> list[Cell]:
    """Return a cell for every row on every stream.

    Raises:
        UserError: a setting is unknown or refused, or one file of weights is given for several backbones.
    """
    cells = [_cell(row, stream, wish) for stream in streams for row in rows]
    backbones = {job.config.backbone.name for cell in cells for job in cell.jobs}
    if "backbone.weights" in wish.settings and len(backbones) > 1:
        raise UserError(
            f"backbone.weights is one file, and these rows have the backbones {', '.join(sorted(backbones))};"
            " choose rows of one with --rows"
        )
    return cells


def _cell(row: TableRow, stream: str, wish: Wish) -> Cell:
    reason = row.left_out(wish.scale, wish.settings) or _spoilt(row, stream, wish)
    if reason is not None:
        return Cell(row, stream, (), reason)
    config = resolve(row, stream, wish)
    if (known := STREAMS.get(RECIPES[stream].settings["stream.source"])) is not None:
        try:
            config.learner.for_stream(known.num_classes)
        except UserError as error:
            return Cell(row, stream, (), str(error))
    configs = [replace(config, seed=seed) for seed in wish.seeds]
    places = [(c, place(wish.folder, c)) for c in configs]
    return Cell(row, stream, tuple(Job(c, path, url=at(wish.url, path)) for c, path in places))


def _spoilt(row: TableRow, stream: str, wish: Wish) -> str | None:
    """Return why a wish does not fit a row: it changes a setting that the row is about. Training may be changed."""
    own = {**row.trained.settings, **row.trained.on.get(stream, {}), **row.trained.mini}
    names = [name for name in wish.settings if name in own or name.startswith(METHOD_SETTINGS)]
    own_backbone = bool(row.backbone) and not row.trained.clip  # a row on CLIP takes any
    names += ["backbone.name"] if own_backbone and "backbone.name" in wish.settings else []
    changed = [name for name in names if not name.startswith("train.")]
    return f"the command changes {changed[0]}, which the row is about" if changed else None


def resolve(row: TableRow, stream: str, wish: Wish) -> RunConfig:
    """Return the settings of a row's run: its recipe's, changed by the row, the scale, the source and the wish.

    Raises:
        UserError: a setting is unknown or refused.
    """
    trained = row.trained
    config = unscaled(stream, trained.method)
    config = at_scale(with_settings(config, {**trained.settings, **trained.on.get(stream, {})}), wish.scale)
    changes = dict(trained.mini) if wish.scale == "mini" else {}
    if trained.clip:
        changes |= {"backbone.name": CLIP_VIT_B, "backbone.normalise": "backbone"}
    changes["stream.source"] = source = wish.sources.get(data_of(stream), config.stream.source)
    if source is None:
        raise UserError(f"{stream} learns your own data: say where they are with --source")
    without = [f"train.{name}" for name in unread_by(config.learner)]
    without += [] if has_choice(config.learner) else ["learner.classes"]  # its column says what it has
    wanted = {name: value for name, value in wish.settings.items() if name not in without}
    config = with_settings(config, {**changes, "evaluate.policies": list(trained.policies), **wanted})
    return config.located()


def jobs_of(cells: Sequence[Cell]) -> list[Job]:
    """Return every run once, in the order of the rows; each is named after the rows that it serves."""
    return [
        replace(job, title="; ".join(dict.fromkeys(f"{c.row.title} on {c.stream}" for c in cells if job in c.jobs)))
        for job in {job.path: job for cell in cells for job in cell.jobs}.values()
    ]
