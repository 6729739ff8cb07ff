"""What every command takes, as one tree of dataclasses; importing this loads no torch.

The module of the same name as a command has the function `run`, which does what its options ask for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from softtf.recipes.presets import Scale


@dataclass(frozen=True, kw_only=True)
class Command:
    """What all commands take.

    Attributes:
        imports: a Python file of yours to run first, which defines a learner, an adaptation, ... (docs/extend); again
            for another.
    """

    imports: Annotated[UseAppendAction[tuple[Path, ...]], arg(name="import", metavar="FILE")] = ()


@dataclass(frozen=True, kw_only=True)
class Quickstart(Command):
    """Learn five tasks of handwritten digits, or of docstrings, offline, and compare four methods.

    Attributes:
        text: docstrings of Python's standard library instead of digits (needs softtf[text]).
        output: the folder to write; none given takes a new one below runs.
        seed: every random number is drawn from it.
    """

    text: bool = False
    output: Path | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Run(Command):
    """Learn a stream of tasks. `softtf run RECIPE --help` lists every setting.

    Attributes:
        recipe: a name (`softtf list recipes`), or a file of your own texts (.csv, .tsv, .jsonl, .parquet) with columns
            text, label and maybe task.
        method: what learns (`softtf list methods`); the default, soft-tf, answers best per sample.
        scale: full is the paper's settings on ViT-B/16 or BERT; mini fits two CPU cores.
        config: a config.yaml to run again, in place of a recipe, a method and a scale.
        output: the folder to write; none given takes one below runs.
        source: where the data are; short for --stream.source.
        backbone: the frozen transformer; short for --backbone.name.
        policy: how the learner is scored (`softtf list policies`); short for --evaluate.policies.
        seed: every random number of a run is drawn from it; several make one run each, and the same command goes on
            with those that were stopped.
    """

    recipe: Positional[str | None] = None
    method: Annotated[str | None, arg(metavar="{soft-tf,dual-prompt+soft-tf,...}")] = None
    scale: Scale = "full"
    config: Path | None = None
    output: Path | None = None
    source: str | None = None
    backbone: str | None = None
    policy: tuple[str, ...] = ()
    seed: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class OfRun(Command):
    """What commands take that read a run's folder.

    Attributes:
        folder: the run's.
        source: where the run's data are now, if they were moved.
        backbone: where the backbone is, if the run names it by a path.
        feature_cache: the folder with kept features, if it is not the usual one; off keeps them in memory.
    """

    folder: Positional[Path]
    source: str | None = None
    backbone: str | None = None
    feature_cache: str | None = None


@dataclass(frozen=True, kw_only=True)
class Resume(OfRun):
    """Go on with a run that was stopped."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(OfRun):
    """Score a finished learner under other policies, without training; the results are saved in its run's folder.

    Attributes:
        policy: such as prompt-id, gradient-id:batch24, gradient-id:3-shot:own, oracle (`softtf list policies`); none
            given means the usual ones per sample and the oracle.
        shuffle: shuffle the test samples across tasks.
        last: only after the last task: faster, but no Forget.
        matrix: print the accuracy matrices.
        batch_size: samples run at once; changes no per-sample answer.
        precision: of matrix products; float32 keeps answers independent of the batch.
        masks: disk leaves them in their files and reads in those that answers use; the answers are the same.
    """

    policy: tuple[str, ...] = ()
    shuffle: bool = False
    last: bool = False
    matrix: bool = False
    batch_size: int = 60
    precision: Literal["auto", "bfloat16", "float32"] = "float32"
    masks: Literal["memory", "disk"] = "memory"


@dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """Label images, or texts with a learner of texts; the task is inferred for each.

    An image learner takes image files, folders of them, and files of rows with images or their paths. A text learner
    takes texts as they are, and files: of lines, or of rows (.csv, .tsv, .jsonl or .parquet); - is the lines of stdin.
    Of a folder with parquet files these are answered. Texts that begin with a dash stand at the end, behind --. What
    cannot be read, a file, a folder or a row, is told, the rest answered, and the exit code is 1.

    Attributes:
        folder: of a run, or of a learner that was saved.
        inputs: what to label.
        json: print one JSON object a line; what cannot be read has an `error` in place of an answer.
        strict: stop at the first input that cannot be read, and answer none.
        policy: another policy, such as gradient-id (`softtf list policies`).
        task: the task, from 1, where it is known.
        pool: all that is named belongs to one task, which is not known: pool their evidence.
        batch_size: samples at once; answers do not depend on it.
        device: auto, cpu, cuda, ...
        input_column: of a file of rows, the column with the texts or images; none given finds it.
        masks: disk leaves them in their files and reads in those that answers use; the answers are the same.
        backbone: where the backbone is, if the learner names it by a path.
        attention: also draw the attention maps of up to twelve images into this file (.png, .pdf or .svg), with their
            numbers as CSV beside it.
    """

    folder: Positional[Path]
    inputs: Positional[tuple[str, ...]] = ()
    json: bool = False
    strict: bool = False
    policy: Annotated[str | None, arg(aliases=("--inference",))] = None  # its name in softtf 0.1
    task: int | None = None
    pool: bool = False
    batch_size: int = 64
    device: str = "auto"
    input_column: str | None = None
    masks: Literal["memory", "disk"] = "memory"
    backbone: str | None = None
    attention: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Learner(Command):
    """Say what a saved learner knows and holds; take tasks and classes out, rename them, merge learners.

    Attributes:
        action: describe; audit (what is stored that comes from data, and from whose); diff (with another learner);
            remove or keep (tasks, by number from 1 or by name); forget (classes); rename (OLD=NEW); merge (others
            behind this one).
        folder: of a learner that was saved, or of a run.
        names: tasks, classes, OLD=NEW, or the folders of other learners.
        output: the new folder for the learner that comes of it.
        in_place: replace the learner in its folder by it, in one step.
        leave_traces: go on where parameters of other tasks were trained on what is to go; they are named.
        tasks: rename tasks, not classes.
        json: print JSON (describe, audit, diff).
        backbone: where the backbone is, if the learner names it by a path.
    """

    action: Positional[str]
    folder: Positional[Path]
    names: Positional[tuple[str, ...]] = ()
    output: Path | None = None
    in_place: bool = False
    leave_traces: bool = False
    tasks: bool = False
    json: bool = False
    backbone: str | None = None


@dataclass(frozen=True, kw_only=True)
class Table(Command):
    """Run a table of the paper, or what is left of it, and print it; without a number, list the tables.

    Attributes:
        number: the paper's, or a word (`softtf list tables`).
        rows: some rows only, each by its number or by a part of its name and task inference.
        streams: some streams only, or others than the paper's: any recipe (`softtf list recipes`), such as quickstart.
        seeds: one run each; more than one give mean and deviation.
        scale: full is the paper's settings on ViT-B/16; mini fits two CPU cores.
        source: a folder with the data instead of the Hub; for several data sets cifar100=FOLDER imagenet-r=FOLDER.
        set: settings of every run, such as device=cuda train.epochs=5 (`softtf run RECIPE --help` lists all).
        format: how the table is printed; what happens meanwhile then goes to stderr.
        output: the folder with the runs of all tables.
        dry_run: only list the runs.
    """

    number: Positional[str | None] = None
    rows: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    scale: Scale = "full"
    source: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    format: Literal["terminal", "markdown", "latex", "csv"] = "terminal"
    output: Path = Path("runs/tables")
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Write a page of runs: one HTML file with tables, charts and wrong answers, which opens anywhere.

    Attributes:
        runs: folders of runs, or folders that hold some, such as a quickstart's or those of softtf table.
        output: the file; none given is report.html in the one folder that is named, or here.
        open: open the page in the browser.
        images: show some of the test data, as thumbnails or excerpts; --no-images leaves them out.
    """

    runs: Positional[tuple[Path, ...]] = ()
    output: Path | None = None
    open: bool = False
    images: bool = True


@dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """Compare runs in one table: mean ± standard deviation over seeds, one row a method and policy.

    With --source, first make the runs: class means, a ridge regression and the default learn your data task by task,
    and a linear head and the whole network learn all of them at once. A sentence says what pays.

    Attributes:
        runs: folders of runs, or folders that hold some.
        csv: print CSV, with means and deviations in columns of their own.
        markdown: print a Markdown table.
        source: your data, a folder of class folders or a file of rows, in place of runs.
        recipe: whose settings the runs have; none given takes own-texts for a file, else own-images.
        scale: of the recipe, as for softtf run.
        set: settings of every run, such as stream.num_tasks=3, and of training at once, such as train.epochs=20
            (`softtf run RECIPE --help` lists all).
        output: the folder for the runs; the same command with it goes on where it was stopped.
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
    """Draw a figure of the paper from runs, with its numbers as CSV beside it.

    Attributes:
        name: of the figure (`softtf list figures`).
        runs: the folders of the runs; convergence needs none.
        output: the picture, .png, .pdf or .svg; the CSV has the same name. None given writes NAME.png here.
        policy: of layers, radar, kept-share and training: which policies (`softtf list policies`); none given takes
            the runs' own.
        tasks: of densities: which tasks, from 1; none given takes the first, the middle and the last.
        layer: of densities and attention: which layer, from 1; none given takes the last one.
        images: of attention: image files.
        backbone: of densities and attention: where the backbone is, if the runs name it by a path.
    """

    name: Positional[str | None] = None
    runs: Positional[tuple[Path, ...]] = ()
    output: Path | None = None
    policy: tuple[str, ...] = ()
    tasks: tuple[int, ...] = ()
    layer: int | None = None
    images: tuple[Path, ...] = ()
    backbone: str | None = None


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """List what can be named: recipes, methods, backbones, streams, tables, figures, policies, metrics and others.

    Attributes:
        names: of lists; none given shows all.
    """

    names: Positional[tuple[str, ...]] = ()


COMMANDS: dict[str, type[Command]] = {
    "quickstart": Quickstart,
    "run": Run,
    "resume": Resume,
    "predict": Predict,
    "evaluate": Evaluate,
    "learner": Learner,
    "report": Report,
    "compare": Compare,
    "table": Table,
    "figure": Figure,
    "list": List,
}
