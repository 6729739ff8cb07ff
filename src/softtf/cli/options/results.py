"""The options of commands that show the results of runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from softtf.cli.options.command import Command, Many
from softtf.recipes.presets import Scale


@dataclass(frozen=True, kw_only=True)
class Table(Many):
    """Carry out the missing runs of a table of the paper, and print it; without a number, list the tables.

    Attributes:
        number: the paper's number, or a word (`softtf list tables`).
        rows: only these rows, each given by its number or by a part of its name and task inference.
        streams: only these streams, or any other recipes (`softtf list recipes`), such as quickstart.
        seed: the seeds, with one run each; several give mean and deviation.
        scale: full has the paper's settings on ViT-B/16; mini fits two CPU cores.
        source: a folder with the data, instead of the Hub; for several data sets cifar100=FOLDER imagenet-r=FOLDER.
        set: settings of every run, such as device=cuda train.epochs=5 (`softtf run RECIPE --help` lists all).
        format: the form of the table; in all but terminal, progress goes to stderr.
        output: the folder for the runs of all tables, or a URL such as s3://bucket/tables (docs/sweep.md).
        dry_run: only list the runs.
    """

    number: Positional[str | None] = None
    rows: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    seed: Annotated[tuple[int, ...], arg(aliases=("--seeds",))] = (0,)  # its name in softtf 0.1
    scale: Scale = "full"
    source: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    format: Literal["terminal", "markdown", "latex", "csv"] = "terminal"
    output: str = "runs/tables"
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Write a page of runs: one HTML file with tables, charts and wrong answers, which opens anywhere.

    Attributes:
        runs: folders of runs, or folders that contain runs, such as those of softtf quickstart and softtf table.
        output: the file; without it, report.html in the named folder, or in the working directory if several are named.
        open: open the page in the browser.
        images: show some of the test data, as thumbnails or excerpts; --no-images leaves them out.
    """

    runs: Positional[tuple[Path, ...]] = ()
    output: Path | None = None
    open: bool = False
    images: bool = True


@dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """Compare runs in one table: mean ± standard deviation over seeds, one row per method and policy.

    With --source, make the runs first: class means (NCM), RanPAC, LayUP and the default method learn your data task by
    task; a linear head and the whole network learn all data at once. A sentence says whether task by task is worth it.

    Attributes:
        runs: folders of runs, or folders that contain runs.
        csv: print CSV, with separate columns for means and deviations.
        markdown: print a Markdown table.
        source: your own data instead of runs: a folder of class folders, or a file of rows.
        recipe: the recipe of the runs; without it, own-texts for a file and own-images for a folder.
        scale: the scale of the recipe, as for softtf run.
        set: settings of every run, such as stream.num_tasks=3, and of training on all data, such as train.epochs=20
            (`softtf run RECIPE --help` lists all).
        output: the folder for the runs; the same command with the same folder resumes them.
        at_once: also train on all data at once; --no-at-once leaves out these runs, which take the longest.
    """

    runs: Positional[tuple[Path, ...]] = ()
    csv: bool = False
    markdown: bool = False
    source: str | None = None
    recipe: str | None = None
    scale: Scale = "full"
    set: tuple[str, ...] = ()
    output: Path | None = None
    at_once: bool = True


@dataclass(frozen=True, kw_only=True)
class Figure(Command):
    """Draw a figure of the paper from runs, and write its numbers as CSV beside it.

    Attributes:
        name: the figure's name (`softtf list figures`).
        runs: the folders of the runs; convergence needs none.
        output: the picture, .png, .pdf or .svg; the CSV has the same name. Without it, NAME.png in the working
            directory.
        policy: policies to show, in layers, radar, kept-share, groups and training (`softtf list policies`); without
            it, the runs' own.
        tasks: tasks to show, from 1, in densities; without it, the first, the middle and the last.
        layer: the layer to show, from 1, in densities and attention; without it, the last one.
        images: image files, for attention.
        backbone: the path of the backbone, if the runs name it by a path; for densities and attention.
    """

    name: Positional[str | None] = None
    runs: Positional[tuple[Path, ...]] = ()
    output: Path | None = None
    policy: tuple[str, ...] = ()
    tasks: tuple[int, ...] = ()
    layer: int | None = None
    images: tuple[Path, ...] = ()
    backbone: str | None = None
