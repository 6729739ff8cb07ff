"""README.md of a learner: the model card that people and the Hub read, written from the learner's own files.

The card is no part of the learner. Loading reads nothing of it, and neither hashes nor signatures cover it, because
people add to a card by hand. What stands below its last line (`MARK`) is the user's, and stays when it is written
again. Names of classes, tasks and weights are shown as code, which no reader of Markdown takes for markup.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import yaml

from softtf.backbones.from_timm import architecture_of
from softtf.backbones.load import BackboneSpec, random_name
from softtf.backbones.spec import model_name
from softtf.config.names import BERT, BUNDLED, CLIP_VIT_B, MINILM
from softtf.config.tree import to_dict
from softtf.errors import UserError, reason_of, visible
from softtf.evaluation.report import markdown_table
from softtf.files.reading import read_text
from softtf.files.tensors import write_atomic
from softtf.inference.policy import parse_policy
from softtf.learners.accounts import Description, TaskDescription, describe
from softtf.learners.knowledge import Finished
from softtf.saving.header import Header

CARD = "README.md"
MARK = "<!-- softtf wrote all above, and writes it again on every save. What you write below this line stays. -->"
LICENCES = {BUNDLED: "Apache-2.0", MINILM: "Apache-2.0", BERT: "Apache-2.0", CLIP_VIT_B: "MIT"}
SHOWN_CLASSES, SHOWN_TASKS, LONGEST = 20, 100, 80  # classes of a task, tasks, characters of a name
LONGEST_LINE = 1000  # characters of what is left of removed tasks
HEAD = ("Policy", "ACC", "Forget", "Task right")


@dataclass(frozen=True)
class Measured:
    """What a run measured: where, in words, and for each policy its title, ACC, Forget and task right, in percent."""

    where: str
    rows: Sequence[tuple[str, float, float, float | None]]


def card_text(header: Header, finished: Finished, measured: Measured | None = None, place: str = "FOLDER") -> str:
    """Return the card of a learner.

    Args:
        header: of the learner.
        finished: what it learned.
        measured: the results on test sets; None if there are none.
        place: its folder, or its name on the Hub, in the lines that load it.
    """
    spec = header.backbone
    about = describe(finished, header.learner.kind, spec.name, header.backbone_sha256)
    reads_text = finished.learner.network.backbone.reads_text
    title = f"{header.learner.title}: {about.counted}"
    parts = [
        "---\n" + yaml.safe_dump(_for_the_hub(header, reads_text), sort_keys=False) + "---",
        f"# {title}",
        f"A continual learner of softtf: the method {literal(header.learner.kind)} on the frozen backbone"
        f" {literal(spec.weights_title(header.backbone_sha256))}. Version {literal(about.hash[:12])}.",
        "## What it knows",
        _known(about),
        "## How well it answers",
        _results(measured),
        "## How it was trained",
        "A task is learned from its own examples alone. The settings:",
        f"```json\n{json.dumps(_settings(header), indent=2)}\n```",
        "## Backbone and licence",
        _licence(spec, header.backbone_sha256),
        "## Size",
        _size(about),
        "## Limits",
        _limits(header, about),
        "## Use it",
        _use(spec, reads_text, place),
        MARK,
    ]
    return "\n\n".join(parts) + "\n"


def write_card(folder: Path, text: str, say: Callable[[str], None]) -> None:
    """Write a card into a learner's folder; what the user wrote below its mark stays.

    A README.md without the mark is somebody's own, and is left as it is. If the card cannot be written, `say` gets a
    message and nothing is raised: the learner is whole without its card.
    """
    path = folder / CARD
    try:
        if path.is_symlink():
            raise UserError("it is a link")
        end = f"\n{MARK}"  # in a line of its own; a name never begins a line
        old = read_text(path) if path.exists() else end
        if end in old and (new := text.rstrip("\n") + (old.partition(end)[2] or "\n")) != old:
            write_atomic(path, new)
    except (OSError, UnicodeDecodeError, UserError) as error:
        say(f"the learner is saved, but not its card {path}: {reason_of(error)}")


def literal(text: object, longest: int = LONGEST) -> str:
    """Return text as a code span of Markdown, in which nothing is markup; long text is cut.

    The fence is longer than any run of backticks in it. Characters that cannot be seen are escaped.
    """
    shown = visible(str(text))
    shown = shown if len(shown) <= longest else shown[: longest - 3] + "..."
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if not shown.strip() or shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _for_the_hub(header: Header, reads_text: bool) -> dict[str, Any]:
    """Return what the Hub reads at the top of a card; no name of a class or task, and no path."""
    name, kind = model_name(header.backbone), "text" if reads_text else "image"
    found: dict[str, Any] = {
        "library_name": "softtf",
        "pipeline_tag": f"{kind}-classification",
        "tags": ["continual-learning", header.learner.kind],
    }
    if not (header.backbone.paths or random_name(header.backbone) or name == BUNDLED):
        found["base_model"] = f"timm/{name}" if architecture_of(name) and "/" not in name else name
    return found


def _known(about: Description) -> str:
    lines = [f"- {_task(task)}" for task in about.tasks[:SHOWN_TASKS]]
    if more := len(about.tasks) - len(lines):
        lines.append(f"- and {more} more tasks")
    return "\n".join(lines) or "Nothing yet."


def _task(task: TaskDescription) -> str:
    shown = ", ".join(map(literal, task.classes[:SHOWN_CLASSES]))
    more = f" and {len(task.classes) - SHOWN_CLASSES} more" if len(task.classes) > SHOWN_CLASSES else ""
    examples = "" if task.record.examples is None else f" from {sum(task.record.examples):,} examples"
    learned = f"learned {literal(task.record.learned)}" if task.record.learned else "learned at an unknown time"
    tested = "" if task.record.accuracy is None else f"; {task.record.in_words()}"
    return f"{literal(task.name)}, {learned}{examples}: {shown}{more}{tested}"


def _results(measured: Measured | None) -> str:
    if measured is None:
        return "Not measured. `model.evaluate(tests)` scores it on test sets of yours."
    rows = [(title, *("" if value is None else f"{value:.1f}" for value in values)) for title, *values in measured.rows]
    table = markdown_table(HEAD, rows, range(1, len(HEAD)))
    return f"On {measured.where}, in percent, after the last task:\n\n{table.rstrip()}"


def _settings(header: Header) -> Mapping[str, Any]:
    return {
        "learner": to_dict(header.learner),
        "train": None if header.train is None else to_dict(header.train),
        "inference": header.inference,
        "seed": header.seed,
    }


def licence_of(spec: BackboneSpec) -> str | None:
    """Return the licence of a backbone's weights as its library states it; None if that is not known here."""
    name = model_name(spec).removeprefix("timm/")
    if spec.paths or random_name(spec):
        return None
    if name in LICENCES:
        return LICENCES[name]
    about = timm.get_pretrained_cfg(name, allow_unregistered=True) if architecture_of(name) else None
    return None if about is None else about.license


def _licence(spec: BackboneSpec, sha256: str) -> str:
    licence = licence_of(spec)
    words = (
        f"Its licence, as its library states it: {literal(licence)}." if licence else "Its licence is not known here."
    )
    commit = f" The commit on the Hub is {literal(spec.revision)}." if spec.revision else ""
    return (
        f"The backbone is named, not copied. Its weights have the SHA-256 {literal(sha256)}; no others are"
        f" accepted.{commit} {words} The learner's own licence is for its author to state."
    )


def _size(about: Description) -> str:
    own, stored = sum(task.parameters for task in about.tasks), sum(task.bytes for task in about.tasks)
    return (
        f"- {own:,} parameters of the tasks' own, {stored:,} bytes with their sums and statistics\n"
        f"- {about.shared_bytes:,} bytes that all tasks share"
    )


def _limits(header: Header, about: Description) -> str:
    policy = f" It answers by the policy {literal(parse_policy(header.inference).title())}." if header.inference else ""
    left = (
        f"- It still holds something of what was removed: {literal(about.left, LONGEST_LINE)}\n" if about.gone else ""
    )
    return (
        "- It gives one of the classes above to every input, also to one of a class that it never saw, unless `predict`"
        " is asked to reject unknown inputs.\n"
        f"- Its accuracy is known only for the data and the policies named above.{policy}\n"
        "- It holds numbers that were derived from its training data; `softtf learner audit FOLDER` lists them.\n"
        f"{left}- Anybody who passed this page on can have changed it: it is neither hashed nor signed."
        " `softtf learner card FOLDER` shows what the learner's own files say."
    )


def _use(spec: BackboneSpec, reads_text: bool, place: str) -> str:
    backbone = ', backbone="FOLDER OF THE BACKBONE"' if spec.paths else ""
    given = "a text" if reads_text else "picture.jpg"
    return "\n".join(
        [
            "```python",
            "from softtf import ContinualClassifier  # pip install softtf",
            "",
            f"model = ContinualClassifier.from_pretrained({json.dumps(place)}{backbone})",
            f'labels = model.predict(["{given}"])',
            f'probabilities = model.predict_proba(["{given}"])  # columns in the order of model.labels',
            "```",
        ]
    )
