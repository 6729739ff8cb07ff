"""The options of commands that make a run, go on with it or score it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from softtf.cli.options.command import Command, Many
from softtf.config.bounds import BatchSize, FalseRejection
from softtf.recipes.presets import Scale


@dataclass(frozen=True, kw_only=True)
class Quickstart(Command):
    """Learn five tasks of handwritten digits, or of docstrings, offline, and compare three methods.

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
        policy: the policies that score the learner; short for --evaluate.policies (`softtf list policies` names them).
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
class Sweep(Many):
    """Do every run that a sweep file asks for; the same command goes on where it was stopped.

    A sweep file names recipes, methods, seeds and settings; docs/sweep.md has an example. `softtf sweep status FOLDER`
    shows how far the runs of a folder (or a URL) are, from any shell. softtf compare and softtf report read a folder.

    Attributes:
        file: the sweep file; or the word status.
        folder: with status, the folder of the runs, or its URL.
        output: the folder for the runs, or a URL such as s3://bucket/big; without it, runs/sweeps/NAME, after the file.
        print: only check all runs, and print a command for each, such as for SLURM's arrays.
        only: do only this run, by the name of its folder; the commands of --print have it.
    """

    file: Positional[str | None] = None
    folder: Positional[str | None] = None
    output: str | None = None
    print: bool = False
    only: str | None = None


@dataclass(frozen=True, kw_only=True)
class OfRun(Command):
    """The options of commands that read a run's folder.

    Attributes:
        folder: the run's folder.
        source: the new place of the run's data, if they were moved.
        backbone: the path of the backbone, if the run names it by a path.
        feature_cache: the folder of cached features, if it is not the default; off, or --no-cache, keeps none on disk.
        device: auto, cpu, cuda, ...; without it, as the run was begun.
    """

    folder: Positional[Path]
    source: str | None = None
    backbone: str | None = None
    feature_cache: str | None = None
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Resume(OfRun):
    """Continue a run that was stopped.

    Attributes:
        quiet: print only errors, and how to resume a run that was stopped.
    """

    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Evaluate(OfRun):
    """Score a finished learner under other policies, without training; its run's folder keeps the results.

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
        memory_limit: the most bytes of masks in memory, such as 2GB or 0; the others stay in their files, and the
            answers are the same. Without it, all masks are loaded.
    """

    policy: tuple[str, ...] = ()
    unknown: bool = False
    false_rejection: FalseRejection = 0.05
    shuffle: bool = False
    last: bool = False
    matrix: bool = False
    batch_size: BatchSize = 60
    precision: Literal["auto", "bfloat16", "float32"] = "float32"
    memory_limit: str | None = None
