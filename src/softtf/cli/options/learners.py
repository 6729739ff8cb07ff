"""The options of commands that use or change a learner."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from softtf.cli.options.command import UNPREFIXED, Command
from softtf.config.bounds import BatchSize, Count, FalseRejection, Natural, NonNegative
from softtf.serve.limits import Limits


@dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """Label images, or texts with a learner of texts; the task is inferred for each.

    A learner of images takes image files, folders and archives (.zip, .tar, .tar.gz) of them, and files of rows with
    images or their paths. A learner of texts takes the texts themselves, files with one text per line, files of rows
    (.csv, .tsv, .jsonl or .parquet), and - for lines from stdin. In a folder with parquet files, only these are read.
    Put texts that begin with a dash at the end, after --. If a file, a folder or a row cannot be read, the command says
    so, answers the rest and exits with code 1.

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
        memory_limit: the most bytes of masks in memory, such as 2GB or 0; the others stay in their files, and the
            answers are the same. Without it, all masks are loaded.
        backbone: the path of the backbone, if the learner names it by a path.
        attention: also draw the attention maps of up to twelve images into this file (.png, .pdf or .svg), and write
            their numbers as CSV beside it.
    """

    folder: Positional[Path]
    inputs: Positional[tuple[str, ...]] = ()
    json: bool = False
    output: Path | None = None
    top_k: Count = 1
    unknown: Literal["answer", "reject"] = "answer"
    false_rejection: FalseRejection = 0.05
    strict: bool = False
    policy: Annotated[str | None, arg(aliases=("--inference",))] = None  # its name in softtf 0.1
    task: int | None = None
    pool: bool = False
    batch_size: BatchSize = 64
    device: str = "auto"
    input_column: str | None = None
    memory_limit: str | None = None
    backbone: str | None = None
    attention: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Learn(Command):
    """Teach a saved learner, or that of a finished run, one more task, with the learner's own settings.

    All of the training split is learned. If the data have a test split, the accuracy on it is printed.

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
        feature_cache: a folder to keep features of the images in; without it, or with --no-cache, none are kept.
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
class Serve(Command):
    """Answer HTTP requests with a learner (needs softtf[serve]); docs/serve.md has its routes and a client.

    A token in the file of --token-file, or in $SOFTTF_TOKEN, must then come with each request.

    Attributes:
        folder: the folder of a run or of a saved learner.
        host: the address to listen at; with 127.0.0.1, only this machine reaches the service.
        port: the port to listen at; 0 takes a free one.
        token_file: the file with the token that clients must send.
        watch: the seconds between two looks for a new version in the folder; 0 looks only when POST /reload asks.
        limits: the limits of requests and batches.
        policy: another policy, such as gradient-id (`softtf list policies`).
        device: auto, cpu, cuda, ...
        memory_limit: the most bytes of masks in memory, such as 2GB or 0; the others stay in their files, and the
            answers are the same. Without it, all masks are loaded.
        backbone: the path of the backbone, if the learner names it by a path.
    """

    folder: Positional[Path]
    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    watch: NonNegative = 0
    limits: Annotated[Limits, UNPREFIXED] = Limits()
    policy: str | None = None
    device: str = "auto"
    memory_limit: str | None = None
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
        format: the form of an export: onnx or torch.
        policy: how an export answers; without it, by the saved policy.
        revision: push: the branch; pull: the commit, branch or tag.
        private: push: make a new repository private.
    """

    action: Positional[str]
    folder: Positional[Path]
    names: Positional[tuple[str, ...]] = ()
    output: Path | None = None
    in_place: bool = False
    keep_versions: Natural = 0
    leave_traces: bool = False
    tasks: bool = False
    json: bool = False
    backbone: str | None = None
    format: Literal["onnx", "torch"] = "onnx"
    policy: str | None = None
    revision: str | None = None
    private: bool = False
