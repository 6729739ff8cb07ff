"""`softtf quickstart`: the default method, a linear head and Soft-TF masks on digits or docstrings, in one table.

It can be stopped and resumed like a run.
"""

import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from softtf.cli.options import Quickstart
from softtf.devices.processes import LostProcessError, is_first
from softtf.errors import TrainingError, UserError, interrupt_of
from softtf.evaluation.report import Row, render, to_markdown
from softtf.files.plain_json import fits, read_object
from softtf.files.tensors import write_atomic
from softtf.inference.policy import BEST, parse_policy
from softtf.recipes.methods import DEFAULT, title_of
from softtf.recipes.recipes import recipe_named
from softtf.runs.folder import RunFolder
from softtf.runs.learn import learn_stream
from softtf.runs.results import result_rows
from softtf.runs.run import Run, start
from softtf.saying import say
from softtf.screen import Screen, plain
from softtf.sweeps.work import resumed

MARKER = "quickstart.json"
METHODS = (DEFAULT, "linear-head", "dual-prompt+soft-tf")
POLICY_TITLE = "policy: per-sample unless the row says otherwise"
POLICY_NOTE = (
    "per-sample: every test sample is answered alone. The answer may be any class seen so far; with 'own classes', and"
    " with the task given, it is a class of that task. Loss over: the classes that the cross-entropy compares: all seen"
    " so far, the task's own, or all of the stream. Seconds: those of this run; 'from nothing' adds what cached results"
    " of earlier runs and evaluations saved. Test s: all evaluations, under the row's policy alone. Params/task: the"
    " parameters trained or solved for in the last task, with earlier tasks' heads where these are among them."
)


HEADINGS = {
    "quickstart": "Handwritten digits, 5 tasks of 2 classes, bundled ViT",
    "quickstart-text": "Docstrings of Python's standard library, 5 tasks of 2 modules, minilm-l6-v2",
}
NEXT = {
    "quickstart": (
        "softtf run own-images --source FOLDER_OF_CLASS_FOLDERS",
        "softtf run cifar100-10 --scale mini",
    ),
    "quickstart-text": (
        "softtf run MY_TEXTS.csv",
        "softtf run text-order-4 --scale mini --stream.source FOLDER",
    ),
}


def run(options: Quickstart) -> int:
    """Learn digits, or with `text` docstrings, with each of METHODS; show one table."""
    recipe = "quickstart-text" if options.text else "quickstart"
    folder = options.output or free(Path("runs") / recipe)
    RunFolder.check_free(folder)
    compare_methods(folder, options.seed, Screen(), recipe)
    return 0


def compare_methods(folder: Path, seed: int | None, console: Screen, recipe: str = "quickstart") -> None:
    """Run every method that is not finished in `folder` and print the table.

    With seed None, it and the recipe are read from the folder.

    Raises:
        UserError: the folder cannot be read or written, or another process works on it.
    """
    if seed is None:
        try:
            content = {"recipe": recipe, **read_object(folder / MARKER)}
            seed, recipe = content["seed"], content["recipe"]
            if not fits(content, {"seed": int, "recipe": str}) or recipe not in HEADINGS:
                raise UserError("it does not hold a seed")
        except (UserError, KeyError):
            raise UserError(f"{folder / MARKER} cannot be read; start again in another folder") from None
    whole = RunFolder(folder)
    whole.lock()
    try:
        _compare(folder, seed, console, recipe)
    finally:
        whole.unlock()


def _compare(folder: Path, seed: int, console: Screen, recipe: str) -> None:
    write_atomic(folder / MARKER, json.dumps({"seed": seed, "recipe": recipe}))
    rows: list[Row] = []
    for method in METHODS:
        console.rule(title_of(method))
        rows += (found := _one(recipe, method, seed, folder, console))
        console.print(plain(_told(found)), soft_wrap=True)
    title = f"{HEADINGS[recipe]}; {POLICY_TITLE}"
    console.print(render(rows, title, POLICY_NOTE))
    write_atomic(folder / "table.md", f"{to_markdown(rows, title)}\n\n{POLICY_NOTE}\n")
    from softtf.report.page import write_page  # loads matplotlib, which no other command that imports this needs

    page = write_page([folder])
    console.print(f"The same with charts, and what is confused with what: {page}", highlight=False, soft_wrap=True)
    console.print(f"Everything is in {folder}. Next:", highlight=False, soft_wrap=True)
    for line in (
        f"softtf evaluate {folder / METHODS[-1]} --policy gradient-id:batch24 oracle --matrix",
        *NEXT[recipe],
        "softtf list",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)


def _told(rows: Sequence[Row]) -> str:
    """Return how well a method answers as `predict` does, to be read before the other methods have finished."""
    title = parse_policy(BEST).title()
    row = next((row for row in rows if row.policy == title), rows[0])
    seconds = f"{row.train_seconds_this_run or 0:.0f} s to learn, {row.test_seconds_this_run or 0:.0f} s to test"
    return f"{row.method}: {row.acc:.1f}% right ({row.policy}); {seconds}"


def _one(recipe: str, method: str, seed: int, folder: Path, console: Screen) -> list[Row]:
    path = folder / method
    if (path / "summary.json").exists():
        return _rows(path)
    if (path / "config.yaml").exists():
        return finish(lambda: resumed(path, console), path, folder)
    config = replace(recipe_named(recipe, method), seed=seed)
    return finish(lambda: start(config, path, console), path, folder)


def finish(begin: Callable[[], Run], path: Path, resume: Path) -> list[Row]:
    """Learn to the end and return the rows. If stopped, print how to resume; if a task fails, say what is kept.

    Of several processes the first returns rows, the others none.
    """
    try:
        learn_stream(begin())
    except BaseException as error:
        if interrupt_of(error):
            if (resume / "config.yaml").exists() or (resume / MARKER).exists():
                with suppress(OSError):  # of a terminal that is gone
                    say(f"\nstopped; {_kept(path, resume)}")
            raise
        if isinstance(error, LostProcessError):
            folder = RunFolder(path)
            going_on = folder.checkpoint.exists() or folder.learner_files()
            raise LostProcessError(f"{error}; {_kept(path, resume) if going_on else 'start it again'}") from None
        if not isinstance(error, TrainingError):
            raise
        kept = f" (finished tasks are in {path / 'learner'})" if (path / "learner").exists() else ""
        raise TrainingError(f"{error}{kept}") from None
    return _rows(path) if is_first() else []


def _kept(path: Path, resume: Path) -> str:
    """Say what is kept of a stopped run, and how to go on."""
    given = "".join(f" --backbone {shlex.quote(path)}" for path in _paths(path))
    return f"everything up to the last full epoch is kept. Go on with: softtf resume {resume}{given}"


def _paths(path: Path) -> list[str]:
    """Return the local paths of a run's backbone, which `softtf resume` needs again."""
    try:
        return RunFolder.open(path)[1].backbone.paths
    except UserError:
        return []


def _rows(path: Path) -> list[Row]:
    folder, config = RunFolder.open(path)
    return result_rows(folder.summary(), config)


def free(path: Path) -> Path:
    """Return `path`, or with -2, -3, ... the first that does not exist."""
    number = 1
    while (candidate := path if number == 1 else path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return candidate
