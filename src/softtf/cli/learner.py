"""`softtf learner`: show what a saved learner knows and holds, and change its tasks and classes."""

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from softtf.classifier import ContinualClassifier
from softtf.cli.options import Learner
from softtf.cli.options.command import flag
from softtf.cli.shipping import SHIPPING, check_in_place, check_target
from softtf.cli.versions import OF_VERSIONS
from softtf.errors import UserError, unknown
from softtf.files.label_json import encode_label
from softtf.learners.accounts import Description, Held, shown_bytes
from softtf.runs.classifier import learner_folder
from softtf.runs.results import last_accuracies, measured_in
from softtf.saving import list_versions
from softtf.saving.card import write_card
from softtf.saving.manifest import HEADER, MANIFEST, holds_learner
from softtf.saving.versions import check_place
from softtf.saying import note, say

LOOKING = ("describe", "audit", "card", "diff")
CHANGING = ("names", "output", "in_place", "keep_versions")
READS = {  # the options that each action reads, but the learner's folder and where its backbone is
    **dict.fromkeys(("describe", "audit", "versions"), ("json",)),
    "card": ("in_place",),
    "diff": ("names", "json"),
    **dict.fromkeys(("remove", "keep", "forget"), (*CHANGING, "leave_traces")),
    "rename": (*CHANGING, "tasks"),
    **dict.fromkeys(("merge", "extend"), CHANGING),
    **dict.fromkeys(("restore", "prune"), ("names",)),
    "export": ("names", "output", "format", "policy"),
    **dict.fromkeys(("pack", "unpack"), ("output",)),
    "push": ("names", "revision", "private"),
    "pull": ("output", "revision"),
}


def run(options: Learner) -> int:
    """Describe, compare, change, export or send a learner that was saved or run."""
    if options.action not in READS:
        raise unknown("action of softtf learner", options.action, READS)
    _check_read(options)
    if options.action in SHIPPING:
        SHIPPING[options.action](options, lambda folder: _loaded(folder, options))
        return 0
    if options.action in OF_VERSIONS:
        return OF_VERSIONS[options.action](options)
    actions: dict[str, Callable[[ContinualClassifier, Learner], list[str] | None]] = {
        "describe": _describe,
        "audit": _audit,
        "card": _card,
        "diff": _diff,
        "remove": _remove,
        "keep": lambda model, o: model.keep(_tasks(model, o), leave_traces=o.leave_traces),
        "forget": lambda model, o: model.forget(_labels(model, _named(o)), leave_traces=o.leave_traces),
        "rename": _rename,
        "merge": _merge,
        "extend": _extend,
    }
    looks = options.action in LOOKING
    if options.keep_versions and not options.in_place:
        raise UserError("--keep-versions needs --in-place: a new folder has no earlier versions")
    target = learner_folder(options.folder) if options.output is None else options.output
    if looks:
        check_in_place(options.folder, options.in_place)
    else:
        check_target(options)
        check_place(target, options.in_place)
    model = _loaded(options.folder, options)
    left = actions[options.action](model, options)
    if looks:
        return int(options.action == "diff" and bool(left))  # as diff does
    model.save_pretrained(target, replace=options.in_place, keep_versions=options.keep_versions)
    for words in left or ():
        note(f"still holds something of what is gone: {words}")
    say(f"{target}: {len(model.classes.tasks)} tasks, {len(model.labels)} classes")
    return 0


def _check_read(options: Learner) -> None:
    """Refuse an option that the action would ignore; raises UserError."""
    action, read = options.action, ("action", "folder", "backbone", *READS[options.action])
    unread = [name for name in options.given() if name not in read]
    if "names" in unread:
        raise UserError(f"softtf learner {action} {options.folder} takes no more words; leave out {options.names[0]}")
    if unread:
        why = "changes nothing and " * (action in LOOKING)
        raise UserError(f"softtf learner {action} {why}does not read {flag(unread[0])}; leave it out")


def _loaded(path: Path, options: Learner) -> ContinualClassifier:
    folder = learner_folder(path)
    if not holds_learner(folder):
        raise UserError(f"{path} is no learner and no run: there is no {folder / HEADER}")
    of_run = folder != path
    return ContinualClassifier.from_pretrained(folder, backbone=options.backbone, device="cpu", unfinished=of_run)


def _named(options: Learner) -> tuple[str, ...]:
    if not options.names:
        raise UserError(f"softtf learner {options.action} {options.folder} needs what to {options.action}")
    return options.names


def _tasks(model: ContinualClassifier, options: Learner) -> list[int]:
    """Return the tasks, from 0, that words name."""
    return list(dict.fromkeys(model.classes.numbered(word) for word in _named(options)))


def _remove(model: ContinualClassifier, options: Learner) -> list[str]:
    gone = _tasks(model, options)
    return model.keep([t for t in range(model.num_tasks) if t not in gone], leave_traces=options.leave_traces)


def _labels(model: ContinualClassifier, words: Sequence[str]) -> list[Hashable]:
    """Return the labels that words name, as they are shown."""
    shown: dict[str, list[Hashable]] = {}
    for label in model.labels:
        shown.setdefault(str(label), []).append(label)
    for word in words:
        if word not in shown:
            raise unknown("class", word, shown)
        if len(shown[word]) > 1:
            raise UserError(f"several classes are shown as {word!r}; name them in Python: {shown[word]!r}")
    return [shown[word][0] for word in words]


def _rename(model: ContinualClassifier, options: Learner) -> None:
    pairs = [word.partition("=") for word in _named(options)]
    if wrong := [old + equals + new for old, equals, new in pairs if not (old and equals and new)]:
        raise UserError(f"write OLD=NEW, not {wrong[0]!r}")
    olds, news = [old for old, _, _ in pairs], [new for _, _, new in pairs]
    if options.tasks:
        numbers = [model.classes.task_number(int(old) - 1 if old.isdecimal() else old) for old in olds]
        model.rename(tasks=dict(zip(numbers, news, strict=True)))
    else:
        model.rename(dict(zip(_labels(model, olds), news, strict=True)))


def _merge(model: ContinualClassifier, options: Learner) -> None:
    for name in _named(options):
        model.merge(_loaded(Path(name), options))


def _extend(model: ContinualClassifier, options: Learner) -> None:
    if len(options.names) != 2:
        raise UserError(f"write softtf learner extend {options.folder} TASK DATA, with a folder or a file of data")
    task, data = options.names
    (number,) = _tasks(model, replace(options, names=(task,)))
    before = sum(model.classes.records[number].examples or ())
    model.extend(number, data)
    say(f"{model.classes.names[number]}: {sum(model.classes.records[number].examples or ()) - before} more examples")


def _card(model: ContinualClassifier, options: Learner) -> None:
    text = model.card(measured_in(options.folder))
    if options.in_place:
        write_card(learner_folder(options.folder), text, note)
    else:
        say(text.rstrip())


def _diff(model: ContinualClassifier, options: Learner) -> list[str]:
    if len(options.names) != 1:
        raise UserError(f"softtf learner diff compares two learners; name one beside {options.folder}")
    found = model.diff(_loaded(Path(options.names[0]), options))
    if options.json:
        say(json.dumps(found))
    else:
        say("\n".join(found) or "no difference: they answer alike")
    return found


def _audit(model: ContinualClassifier, options: Learner) -> None:
    folder = learner_folder(options.folder)
    held = [*model.audit(), *_earlier(folder)]
    if folder != options.folder:
        note("the run's folder holds answers and perhaps pictures too, and the cache features (docs/forget-a-class.md)")
    if options.json:
        say(json.dumps([asdict(one) for one in held], indent=2))
        return
    for one in held:
        say(f"{one.what} ({shown_bytes(one.bytes)}): {one.how}{': ' if one.tasks else ''}{'; '.join(one.tasks)}")


def _earlier(folder: Path) -> list[Held]:
    """Return the earlier versions in a learner's folder: they hold what was taken out since."""
    versions = list_versions(folder) if (folder / MANIFEST).exists() else []  # else a zip file, or a run that goes on
    how = "the learner as it was then; softtf learner prune removes it"
    return [
        Held(f"earlier version {version.number}", how, version.tasks, version.own_bytes)
        for version in versions
        if version.number is not None
    ]


def _describe(model: ContinualClassifier, options: Learner) -> None:
    found = model.describe()
    accuracies = last_accuracies(options.folder, model.num_tasks)
    if options.json:
        say(json.dumps(_plain(found) | {"accuracy": accuracies}, indent=2))
        return
    say(found.text())
    for policy, values in accuracies.items():
        tasks = ", ".join(f"{task.name} {value:.1f} %" for task, value in zip(found.tasks, values, strict=True))
        say(f"right on the test sets of its run, {policy}: {tasks}")


def _plain(found: Description) -> dict[str, Any]:
    """Return a description as JSON has it, dates and examples with their task."""
    plain = asdict(found)
    for values, task in zip(plain["tasks"], found.tasks, strict=True):
        values |= values.pop("record") | {"classes": [encode_label(label) for label in task.classes]}
    return plain
