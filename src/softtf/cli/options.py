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
        imports: a Python file of your own to run first; it defines a learner, an adaptation, ... (docs/extend). Repeat
            the option for another file.
    """

    imports: Annotated[UseAppendAction[tuple[Path, ...]], arg(name="import", metavar="FILE")] = ()


@dataclass(frozen=True, kw_only=True)
class Quickstart(Command):
    """Learn five tasks of handwritten digits, or of docstrings, offline, and compare four methods.

    Attributes:
        text: learn docstrings of Python's standard library, not digits (needs softtf[text]).
        output: the folder to write; without it, a new folder in runs.
        seed: the seed of all random numbers.
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
        method: the method that learns (`softtf list methods`); without it, soft-tf, whose per-sample answers are best.
        scale: full has the paper's settings on ViT-B/16 or BERT; mini fits two CPU cores.
        config: a config.yaml to run again, instead of a recipe, a method and a scale.
        output: the folder to write; without it, a folder in runs.
        source: the data; short for --stream.source.
        backbone: the frozen transformer; short for --backbone.name.
        policy: the policies that score the learner (`softtf list policies`); short for --evaluate.policies.
        seed: the seed of all random numbers. Several seeds make one run each; the same command again resumes those that
            were stopped.
        quiet: print only errors, and how to resume a run that was stopped.
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
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class OfRun(Command):
    """The options of commands that read a run's folder.

    Attributes:
        folder: the run's folder.
        source: the new place of the run's data, if they were moved.
        backbone: the path of the backbone, if the run names it by a path.
        feature_cache: the folder of cached features, if it is not the default; off keeps features in memory.
    """

    folder: Positional[Path]
    source: str | None = None
    backbone: str | None = None
    feature_cache: str | None = None


@dataclass(frozen=True, kw_only=True)
class Resume(OfRun):
    """Continue a run that was stopped.

    Attributes:
        quiet: print only errors, and how to resume a run that was stopped.
    """

    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Evaluate(OfRun):
    """Score a finished learner under other policies, without training; the results are saved in its run's folder.

    Attributes:
        policy: policies such as prompt-id, gradient-id:batch24, gradient-id:3-shot:own, oracle (`softtf list
            policies`); without it, the learner's usual per-sample policies and the oracle.
        unknown: only measure how well the learner tells unknown inputs: after each task, test samples of the tasks to
            come against those of the tasks learned (docs/predict.md).
        false_rejection: with --unknown, the share of inputs of learned classes that may be rejected.
        shuffle: shuffle the test samples across tasks.
        last: score after the last task only: faster, but without Forget.
        matrix: print the accuracy matrices.
        batch_size: samples that are run at once; changes no per-sample answer.
        precision: precision of matrix products; with float32, answers do not depend on the batch.
        masks: disk leaves masks in their files and reads only those that answers use; the answers are the same.
    """

    policy: tuple[str, ...] = ()
    unknown: bool = False
    false_rejection: float = 0.05
    shuffle: bool = False
    last: bool = False
    matrix: bool = False
    batch_size: int = 60
    precision: Literal["auto", "bfloat16", "float32"] = "float32"
    masks: Literal["memory", "disk"] = "memory"


@dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """Label images, or texts with a learner of texts; the task is inferred for each.

    A learner of images takes image files, folders of them, and files of rows with images or their paths. A learner of
    texts takes the texts themselves, files with one text per line, files of rows (.csv, .tsv, .jsonl or .parquet), and
    - for lines from stdin. In a folder with parquet files, only these are read. Put texts that begin with a dash at the
    end, after --. If a file, a folder or a row cannot be read, the command says so, answers the rest and exits with
    code 1.

    Attributes:
        folder: the folder of a run or of a saved learner.
        inputs: the inputs to label.
        json: print one JSON object per line; an input that cannot be read has an `error` instead of an answer.
        output: write the answers to this file instead (.csv, .jsonl or .parquet).
        top_k: how many labels to give for each input, the likeliest first.
        unknown: reject gives no label to inputs that look like no learned class (docs/predict.md).
        false_rejection: the share of inputs of learned classes that may be rejected.
        strict: stop at the first input that cannot be read, without any answer.
        policy: another policy, such as gradient-id (`softtf list policies`).
        task: the task, from 1, if it is known.
        pool: all inputs belong to one task, which is not known: pool their evidence.
        batch_size: samples that are run at once; answers do not depend on it.
        device: auto, cpu, cuda, ...
        input_column: the column of texts or images in a file of rows; without it, the column is found by its name.
        masks: disk leaves masks in their files and reads only those that answers use; the answers are the same.
        backbone: the path of the backbone, if the learner names it by a path.
        attention: also draw the attention maps of up to twelve images into this file (.png, .pdf or .svg), and write
            their numbers as CSV beside it.
    """

    folder: Positional[Path]
    inputs: Positional[tuple[str, ...]] = ()
    json: bool = False
    output: Path | None = None
    top_k: int = 1
    unknown: Literal["answer", "reject"] = "answer"
    false_rejection: float = 0.05
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
class Learn(Command):
    """Teach a saved learner, or that of a finished run, one more task, with the learner's own settings.

    All of the training split is learned. If the data have a test split, its accuracy is told.

    Attributes:
        folder: the folder of a saved learner or of a run.
        data: the task's data, as for softtf run --source.
        output: the new folder, for the learner with the task.
        in_place: replace the saved learner by it, in one step; a run keeps its learner.
        name: what to call the task; without it, the name of the data.
        allow_repeated: accept classes that an earlier task had.
        input_column: the column of images or texts; without it, the column is found by its name.
        label_column: the column of labels, likewise.
        device: auto, cpu, cuda, ...
        backbone: the path of the backbone, if the learner names it by a path.
        feature_cache: a folder to keep features of the images in; without it, none are kept.
    """

    folder: Positional[Path]
    data: Positional[str]
    output: Path | None = None
    in_place: bool = False
    name: str | None = None
    allow_repeated: bool = False
    input_column: str | None = None
    label_column: str | None = None
    device: str = "auto"
    backbone: str | None = None
    feature_cache: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cache(Command):
    """Show where runs keep features of your images, and how many bytes they take; clear removes them.

    Attributes:
        action: show or clear.
        feature_cache: the folder, if it is not the usual one ($SOFTTF_CACHE, else ~/.cache/softtf/features).
    """

    action: Positional[str] = "show"
    feature_cache: str | None = None


@dataclass(frozen=True, kw_only=True)
class Serve(Command):
    """Answer HTTP requests with a learner (needs softtf[serve]); docs/serve.md has its routes and a client.

    A token in the file of --token-file, or in $SOFTTF_TOKEN, must then come with each request.

    Attributes:
        folder: of a run, or of a learner that was saved.
        host: the address to listen at; others than this machine reach it only if it is another than 127.0.0.1.
        port: to listen at; 0 takes a free one.
        token_file: the file with the token that clients must send.
        watch: every how many seconds to look whether the folder holds a new version; 0 looks at POST /reload only.
        batch_size: the most inputs that run at once; answers do not depend on it.
        wait_ms: how many milliseconds a batch that is not full waits for more.
        max_body: the most MiB of a request.
        max_pixels: the most pixels of an image.
        max_inputs: the most images or texts of a request.
        queue: the most requests that wait or are answered at one time; further ones get status 429.
        timeout: the most seconds from a request to its answer.
        policy: another policy, such as gradient-id (`softtf list policies`).
        device: auto, cpu, cuda, ...
        masks: disk leaves them in their files and reads in those that answers use; the answers are the same.
        backbone: where the backbone is, if the learner names it by a path.
    """

    folder: Positional[Path]
    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    watch: float = 0
    batch_size: int = 64
    wait_ms: float = 5
    max_body: float = 16
    max_pixels: int = 50_000_000
    max_inputs: int = 64
    queue: int = 256
    timeout: float = 30
    policy: str | None = None
    device: str = "auto"
    masks: Literal["memory", "disk"] = "memory"
    backbone: str | None = None


@dataclass(frozen=True, kw_only=True)
class Learner(Command):
    """Show what a saved learner knows and holds; change its tasks and classes; restore an earlier version.

    Attributes:
        action: describe; audit (list what is stored that came from data, with the tasks that it came from); card (show
            the model card); diff (compare with another learner); remove or keep (tasks, by number from 1 or by name);
            forget (classes); rename (OLD=NEW); merge (append other learners); extend (TASK DATA: teach a task more
            examples of its classes); versions, restore NUMBER, prune [NUMBER] (the folder's earlier versions); export
            (write files that answer without softtf; with a task, a plain model of it); pack (write one zip file);
            unpack; push (save to user/name on the Hub); pull (copy from there).
        folder: the folder of a saved learner or of a run; unpack: the zip file; pull: user/name on the Hub.
        names: tasks, classes, OLD=NEW, folders of other learners, a task and its data, a version, or user/name.
        output: the new folder, for the changed learner or the export; pack: the new file.
        in_place: replace the learner in its folder by the changed one, in one step; card: write README.md there.
        keep_versions: with in_place, how many earlier versions stay in the folder.
        leave_traces: continue even if other tasks' parameters were trained on data that should be gone; list them.
        tasks: rename tasks, not classes.
        json: print JSON (describe, audit, diff).
        backbone: the path of the backbone, if the learner names it by a path.
        format: of an export: onnx or torch.
        policy: of an export: how it answers; the saved policy if none is given.
        revision: push: the branch; pull: the commit, branch or tag.
        private: push: make a new repository private.
    """

    action: Positional[str]
    folder: Positional[Path]
    names: Positional[tuple[str, ...]] = ()
    output: Path | None = None
    in_place: bool = False
    keep_versions: int = 0
    leave_traces: bool = False
    tasks: bool = False
    json: bool = False
    backbone: str | None = None
    format: str = "onnx"
    policy: str | None = None
    revision: str | None = None
    private: bool = False


@dataclass(frozen=True, kw_only=True)
class Table(Command):
    """Carry out the missing runs of a table of the paper, and print the table; without a number, list the tables.

    Attributes:
        number: the paper's number, or a word (`softtf list tables`).
        rows: only these rows, each given by its number or by a part of its name and task inference.
        streams: only these streams, or any other recipes (`softtf list recipes`), such as quickstart.
        seeds: the seeds, with one run each; several give mean and deviation.
        scale: full has the paper's settings on ViT-B/16; mini fits two CPU cores.
        source: a folder with the data, instead of the Hub; for several data sets cifar100=FOLDER imagenet-r=FOLDER.
        set: settings of every run, such as device=cuda train.epochs=5 (`softtf run RECIPE --help` lists all).
        format: the form of the table; in all but terminal, progress goes to stderr.
        output: the folder for the runs of all tables.
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

    With --source, make the runs first: class means, a ridge regression and the default method learn your data task by
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


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """List the names that commands take: recipes, methods, backbones, streams, tables, figures, policies, metrics, ...

    Attributes:
        names: the lists to show; without it, all.
    """

    names: Positional[tuple[str, ...]] = ()


COMMANDS: dict[str, type[Command]] = {
    "quickstart": Quickstart,
    "run": Run,
    "resume": Resume,
    "predict": Predict,
    "learn": Learn,
    "serve": Serve,
    "evaluate": Evaluate,
    "learner": Learner,
    "report": Report,
    "compare": Compare,
    "table": Table,
    "figure": Figure,
    "cache": Cache,
    "list": List,
}
