"""The runs behind a table: plan them, find the finished ones, carry out the others.

A run's folder is named after its settings (a hash), so tables share runs:
FOLDER/<data>-<tasks>-<method>-<hash>/seed-<n>.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from softtf.config.dotted import with_settings
from softtf.config.names import CLIP_VIT_B
from softtf.config.tree import to_dict, to_yaml
from softtf.errors import TrainingError, UserError
from softtf.files.lock import BusyError, check_idle
from softtf.files.tensors import write_atomic
from softtf.learners.earlier import in_earlier_words
from softtf.learners.spans import has_choice
from softtf.paper import TableRow
from softtf.paper.jobs import Job, data_of, left
from softtf.recipes.presets import RECIPES, Scale
from softtf.recipes.recipes import at_scale, unscaled
from softtf.runs.config import ELSEWHERE, RunConfig
from softtf.runs.learn import learn_stream
from softtf.runs.places import Places
from softtf.runs.run import reopen, start
from softtf.screen import Screen
from softtf.streams import STREAMS
from softtf.training.data import unread_by

# What a method's name stands for, beside what a row itself says.
METHOD_SETTINGS = tuple(
    f"learner.{name}"
    for name in (
        *("adapt", "projection", "key_eps", "e_layers", "e_length", "g_layers", "g_length", "tune", "extractor", "mcg"),
        *("text_prompts", "before_norm"),
    )
)
# Settings that came later: where they are as before, runs of earlier versions are found.
LATER = {
    "stream": ("datasets", "train_per_dataset", "test_per_dataset", "merge_labels", "blurry"),
    "backbone": ("max_tokens", "pooling", "revision"),
    "learner": ("key_eps", "text_prompts", "before_norm", "classes", "total_classes", "gradient_offset", "gather"),
    "learner.projection": ("spectrum",),
    "train": ("weight_decay", "first_task_learning_rate", "first_task_weight_decay", "warmup"),
}
NOT_LATER = ("ft", "ewc")  # learners that had all of these but `gather` from the start


@dataclass(frozen=True)
class Wish:
    """The command's wishes for all runs of a table.

    Attributes:
        scale: `full` or `mini`.
        sources: where data come from, by the name of the data set; the others come from the Hub.
        settings: changes by dotted name; they win over those of the rows.
        seeds: one run each.
        folder: where the runs are.
    """

    scale: Scale = "full"
    sources: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    folder: Path = Path("runs/tables")


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
    return Cell(row, stream, tuple(Job(c, place(wish.folder, c)) for c in configs))


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
    return replace(config, stream=config.stream.located(), backbone=config.backbone.located())


def place(folder: Path, config: RunConfig) -> Path:
    """Return the folder of a run."""
    plain = {name: value for name, value in to_dict(config).items() if name not in ELSEWHERE}
    plain["learner"] = in_earlier_words(plain["learner"])
    plain["evaluate"]["batch_size"] = 120  # the default when names were first made; it changes no answer of a sample
    for part, names in LATER.items():
        spec: Any = config
        settings: Any = plain
        for step in part.split("."):
            spec, settings = getattr(spec, step, None), settings.get(step)
        if getattr(spec, "kind", None) in NOT_LATER:
            names = tuple(name for name in names if name == "gather")
        before = to_dict(type(spec)()) if hasattr(spec, "__dataclass_fields__") else {}
        for name in (n for n in names if n in before and settings[n] == before[n]):
            del settings[name]
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]
    data = Path(config.stream.given).name
    return folder / f"{data}-{config.stream.num_tasks}-{config.method}-{digest}" / f"seed-{config.seed}"


def jobs_of(cells: Sequence[Cell]) -> list[Job]:
    """Return every run once, in the order of the rows."""
    return list({job.path: job for cell in cells for job in cell.jobs}.values())


def complete(cells: Sequence[Cell], console: Screen, say: Callable[[str], None]) -> dict[Path, str]:
    """Carry out the runs that are not finished; a stopped run continues.

    Returns:
        the runs that failed or that another process works on: the reason, by folder.

    Raises:
        UserError: data, backbone or disk cannot be used.
    """
    jobs, failed = jobs_of(cells), dict[Path, str]()
    for number, job in enumerate(jobs, 1):
        served = "; ".join(dict.fromkeys(_name(cell) for cell in cells if job in cell.jobs))
        title = f"run {number} of {len(jobs)}, seed {job.config.seed}: {served}"
        if job.finished:
            say(f"{title}: {job.state} before")
            continue
        say(f"{title}: {job.state}")
        try:
            _finish(job, console)
        except BusyError as error:
            failed[job.path] = str(error)
            say(f"{title}: skipped: {error}")
        except TrainingError as error:
            failed[job.path] = str(error)
            say(f"{title}: failed: {error}")
        else:
            say(f"{title}: {job.state}; {left(jobs)}")
    return failed


def _name(cell: Cell) -> str:
    return f"{cell.row.title} on {cell.stream}"


def _finish(job: Job, console: Screen) -> None:
    if not (job.path / "config.yaml").exists():
        learn_stream(start(job.config, job.path, console))
        return
    check_idle(job.path)
    write_atomic(job.path / "config.yaml", to_yaml(job.config))  # the same but for ELSEWHERE, such as another device
    config = job.config  # which the user gave: also its paths
    places = Places(backbone=config.backbone if config.backbone.paths else None, feature_cache=config.feature_cache)
    learn_stream(reopen(job.path, console, repair=True, places=places))
