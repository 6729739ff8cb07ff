"""`softtf learner export|pack|unpack|push|pull`: a learner goes elsewhere, or comes from there."""

from collections.abc import Callable, Mapping
from pathlib import Path

from softtf.classifier import ContinualClassifier
from softtf.cli.options import Learn, Learner
from softtf.errors import UserError
from softtf.files.new_folder import new_folder
from softtf.runs.classifier import learner_folder
from softtf.runs.results import measured_in
from softtf.saving.hub import download
from softtf.saving.zipped import pack, unpack
from softtf.saying import say

Load = Callable[[Path], ContinualClassifier]


def export(options: Learner, load: Load) -> None:
    """Write files that answer like a learner, or one task as a plain model."""
    target, model = _output(options, "export it: --output FOLDER"), load(options.folder)
    task = _only(options, "a task", needed=False)
    number = None if task is None else model.classes.numbered(task)
    about = model.export(target, format=options.format, inference=options.policy, task=number)
    what = "the learner" if task is None else f"its task {about['task']!r}"
    say(f"{target}: answers like {what}, to {about['largest_difference']:.0e}")


def pack_it(options: Learner, load: Load) -> None:
    """Write a learner into one file."""
    target = _output(options, "pack it: --output FILE.zip")
    pack(learner_folder(options.folder), target)
    say(f"{target}: {target.stat().st_size:,} bytes")


def unpack_it(options: Learner, load: Load) -> None:
    """Unpack a learner of one file."""
    target = _output(options, "unpack it: --output FOLDER")
    unpack(options.folder, target)
    say(f"{target}: unpacked")


def push(options: Learner, load: Load) -> None:
    """Save a learner to the Hub."""
    name, folder = _only(options, "user/name"), options.folder
    assert name is not None
    measured = measured_in(folder)
    commit = load(folder).push_to_hub(
        name, private=options.private or None, revision=options.revision, measured=measured
    )
    say(f"{name} on the Hub: commit {commit}")


def pull(options: Learner, load: Load) -> None:
    """Copy a learner of the Hub into a new folder."""
    with new_folder(_output(options, "copy it: --output FOLDER")) as place:
        commit = download(str(options.folder), place, options.revision)
    say(f"{options.output}: commit {commit} of {options.folder}")


SHIPPING: Mapping[str, Callable[[Learner, Load], None]] = {
    "export": export,
    "pack": pack_it,
    "unpack": unpack_it,
    "push": push,
    "pull": pull,
}


def check_target(options: Learn | Learner) -> None:
    """Refuse a changed learner that is to go nowhere, to two places, or into one file; raises UserError."""
    if (options.output is None) != options.in_place:
        raise UserError("say where to save: --output FOLDER for a new learner, or --in-place to replace this one")
    check_in_place(options.folder, options.in_place)


def check_in_place(path: Path, in_place: bool) -> None:
    """Refuse to replace a learner of one file; raises UserError."""
    if in_place and path.is_file():
        raise UserError(f"{path} is one file, which is not replaced; softtf learner unpack makes a folder of it")


def _output(options: Learner, how: str) -> Path:
    if options.output is None:
        raise UserError(f"say where to {how}")
    return options.output


def _only(options: Learner, what: str, needed: bool = True) -> str | None:
    if len(options.names) > 1 or (needed and not options.names):
        raise UserError(f"softtf learner {options.action} {options.folder} takes {what}, and no more")
    return options.names[0] if options.names else None
