"""The text recipes: Table 2's four orders of five data sets, and a user's own file.

The paper says of its text runs no more than BERT-base, the data sets, the orders, and that it goes by the protocol of
MBPA++ (de Masson d'Autume et al., 2019): 115,000 training and 7,600 test rows of each data set, of the sizes of the
smallest, and one epoch. IDBR (Huang et al., 2021) calls that "Full" and has beside it "Sampled", 2,000 training rows of
each class. MBPA++ draws its rows at random, of data sets with equally many rows a class; here the shares of classes are
exactly even. `text-order-4` to `-7` are Full, `text-order-4-sampled` and so on Sampled. Both have what DualPrompt has
on images (batches of 24, rate 0.03), MBPA++'s 128 tokens, and by our choice the [CLS] token as the feature and in
Sampled 3 epochs (IDBR has 4 to 1, chosen for each data set).
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from softtf.adaptations.base import parse_layers
from softtf.backbones.load import MINILM, BackboneSpec
from softtf.config.tree import with_settings
from softtf.learners import IDBR, MBPA
from softtf.recipes.methods import adjusted, method_named, mini_epochs
from softtf.runs.config import RunConfig, StreamConfig
from softtf.streams import HUB
from softtf.streams.columns import LABEL_NAMES
from softtf.streams.files import count_values
from softtf.training.config import TrainConfig

BERT = "bert-base-uncased"
OWN_TEXTS, QUICKSTART = "own-texts", "quickstart-text"
FULL_ROWS = 115_000  # of each data set: equally many of each class, be these 4, 5, 10 or 14
ROWS, MINI_ROWS = 2000, 40  # of each class
TESTS, MINI_TESTS = 7600, 140  # of each data set
SAMPLED = "-sampled"
PROTOCOLS: dict[str, dict[str, Any]] = {  # what a recipe's name ends in, to the rows
    "": {"train_per_class": None, "train_per_dataset": FULL_ROWS, "test_per_dataset": TESTS},
    SAMPLED: {"train_per_class": ROWS, "train_per_dataset": None, "test_per_dataset": TESTS},
}
PROTOCOL_NAMES = {"": "Full", SAMPLED: "Sampled"}
EPOCHS = {"": 1, SAMPLED: 3}
DEAL_OUT = "--stream.task-column None to deal classes out"
ORDERS = {  # METHOD section 5
    "text-order-4": ("agnews", "yelp", "amazon", "yahoo", "dbpedia"),
    "text-order-5": ("yelp", "yahoo", "amazon", "dbpedia", "agnews"),
    "text-order-6": ("dbpedia", "yahoo", "agnews", "amazon", "yelp"),
    "text-order-7": ("yelp", "agnews", "dbpedia", "amazon", "yahoo"),
}
SIX_LAYERS = {  # where a method's layers of twelve are on an encoder of six: from 0 here, from 1 there
    (0, 1): (1,),
    (2, 3, 4): (2, 3, 4),
    (9, 10, 11): (4, 5, 6),
    (10, 11): (5, 6),
    (11,): (6,),
}


def text_order(order: str, protocol: str = "") -> RunConfig:
    """Return one of Table 2's orders under one of PROTOCOLS."""
    return RunConfig(
        recipe=order + protocol,
        stream=StreamConfig(HUB, 5, datasets=ORDERS[order], merge_labels=True, **PROTOCOLS[protocol]),
        backbone=BackboneSpec(BERT, pooling="cls"),
        learner=method_named("dual-prompt+soft-tf"),
        train=TrainConfig(epochs=EPOCHS[protocol]),
    )


def rows_protocol(stream: StreamConfig) -> str:
    """Return what headings say of how many rows are learned and tested on, with the protocol's name if it is one.

    Empty for a stream that is not made of several data sets.
    """
    if not stream.datasets:
        return ""
    rows = {name: getattr(stream, name) for name in ("train_per_class", "train_per_dataset", "test_per_dataset")}
    names = [PROTOCOL_NAMES[key] for key, wanted in PROTOCOLS.items() if rows == wanted and not stream.test_per_class]
    parts = [
        f"{count:,} {part} rows a {unit}"
        for part, split in (("training", "train"), ("test", "test"))
        for unit, count in (
            ("class", getattr(stream, f"{split}_per_class")),
            ("data set", rows[f"{split}_per_dataset"]),
        )
        if count is not None
    ]
    return ": ".join([*names, " and ".join(parts) or "all rows of the data sets"])


def own_texts() -> RunConfig:
    """Return a run on a file of the user's own, on the offline encoder."""
    return RunConfig(
        recipe=OWN_TEXTS,
        stream=StreamConfig("give --stream.source FILE", num_tasks=5, merge_labels=True),
        backbone=BackboneSpec(MINILM, pooling="mean"),
        learner=method_named("dual-prompt+soft-tf"),
        train=TrainConfig(epochs=5),
    )


def quickstart_text() -> RunConfig:
    """Five tasks of docstrings of two modules each on the offline encoder: some minutes, no download."""
    return RunConfig(
        recipe=QUICKSTART,
        stream=StreamConfig("docstrings", 5, train_per_class=40, test_per_class=12),
        backbone=BackboneSpec(MINILM, max_tokens=48, pooling="mean"),
        learner=method_named("dual-prompt+soft-tf"),
        train=TrainConfig(epochs=3),
    )


def of_file(
    file: Path, task_column: str | None = None, label_column: str | None = None
) -> tuple[dict[str, Any], Callable[[StreamConfig], str]]:
    """Return the stream's settings for a user's file of texts, and what tells the tasks that its final settings make.

    Args:
        file: of rows.
        task_column: as asked for; None takes the column `task` if there is one, "None" no column.
        label_column: as asked for; None takes `label` or another usual name.

    Raises:
        UserError: the file cannot be read, or is empty.
    """
    named = task_column or "task"
    counts = count_values(file, [named, *([label_column] if label_column else LABEL_NAMES)])
    tasks = counts.pop(named, None)

    def said(stream: StreamConfig) -> str:
        number = stream.num_tasks
        if stream.task_column is None or tasks is None:
            absent = "" if named == "None" else f"no column {named!r}; "
            return f"{file.name}: {absent}its classes are dealt to {number} tasks (--stream.num-tasks)"
        some = f", of which the first {number} are learned" if tasks is not None and number < tasks else ""
        return f"{file.name}: column {named!r} names {tasks} tasks{some} ({DEAL_OUT})"

    if tasks is not None:
        return {"stream.source": str(file), "stream.task_column": named, "stream.num_tasks": tasks}, said
    number = min(5, max(1, next(iter(counts.values()), 10) // 2))
    return {"stream.source": str(file), "stream.num_tasks": number}, said


def at_mini_scale(config: RunConfig) -> RunConfig:
    """Return a text run as small as two CPU cores like it.

    The offline encoder of six layers and the mean of its tokens, 64 tokens, 40 training rows a class and 140 test rows
    a data set, 3 epochs. Layers 10-12 become 4-6, layers 3-5 become 2-4, the G-prompt goes to layer 1 (SIX_LAYERS).
    Exemplars keep their share. MBPA++ and IDBR replay oftener than published, and IDBR keeps a tenth of the texts: with
    a few dozen steps a task and a hundredth of its texts they would hardly replay at all.
    """
    exemplars: int | None = getattr(config.learner, "exemplars", None)
    config = on_six_layers(config)
    learner = config.learner
    if exemplars is not None:
        learner = adjusted(learner, exemplars=max(1, exemplars * MINI_ROWS // ROWS))
    if isinstance(learner, MBPA):
        learner = replace(learner, replay_every=5)
    if isinstance(learner, IDBR):
        learner = replace(learner, replay_every=3, share=0.1)
    tests = "test_per_dataset" if config.stream.datasets else "test_per_class"
    return replace(
        config,
        stream=with_settings(
            config.stream, {"train_per_class": MINI_ROWS, "train_per_dataset": None, tests: MINI_TESTS}
        ),
        backbone=BackboneSpec(MINILM, max_tokens=64, pooling="mean"),
        learner=learner,
        train=replace(config.train, epochs=mini_epochs(learner)),
    )


def for_six_layers(spec: Any) -> Any:
    """Return a learner's or an adaptation's spec with all its layers moved as SIX_LAYERS says, others kept."""
    changes: dict[str, Any] = {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name.endswith("layers"):
            changes[field.name] = SIX_LAYERS.get(parse_layers(value), value)
        elif is_dataclass(value):
            changes[field.name] = for_six_layers(value)
    return replace(spec, **changes)


def is_text(config: RunConfig) -> bool:
    """Say whether a recipe is about texts."""
    return config.recipe in TEXT_RECIPES


def on_six_layers(config: RunConfig) -> RunConfig:
    """Return a run on the offline encoder with its method's layers among six, and keys for few steps."""
    return replace(config, learner=adjusted(for_six_layers(config.learner), key_scale=0.1))


TEXT_RECIPES: dict[str, Callable[[], RunConfig]] = {
    **{name + end: partial(text_order, name, end) for end in PROTOCOLS for name in ORDERS},
    OWN_TEXTS: own_texts,
    QUICKSTART: quickstart_text,
}
TEXT_DESCRIPTIONS = {
    **{
        name + end: f"{' '.join(order)}, {BERT}, {PROTOCOL_NAMES[end]}: {words}"
        for end, words in (("", "115,000 rows a data set, 1 epoch"), (SAMPLED, "2,000 rows a class, 3 epochs"))
        for name, order in ORDERS.items()
    },
    QUICKSTART: f"5 tasks of docstrings of 2 modules, {MINILM}; offline, some minutes",
    OWN_TEXTS: "your own texts: softtf run FILE.csv (or .tsv, .jsonl, .parquet); offline encoder, 5 epochs",
}
