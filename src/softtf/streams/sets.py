"""Several data sets as the tasks of one stream, with or without common classes."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from softtf.config.arguments import checked
from softtf.errors import UserError, unknown
from softtf.streams.examples import Examples
from softtf.streams.folders import load_folder, parquet_files
from softtf.streams.holdout import with_test
from softtf.streams.registry import STREAMS
from softtf.streams.sources import load_source, local_path
from softtf.streams.splits import Say, quiet
from softtf.streams.walk import Skipped

HUB = "hub"
Pair = tuple[Examples, Examples | None]


@checked
def load_sets(
    names: Sequence[str],
    source: str | Path,
    merged: bool,
    split_train: str = "train",
    split_test: str = "test",
    say: Say = quiet,
) -> dict[str, Pair]:
    """Return the training and test examples of several data sets, by name in the order given.

    Args:
        names: the names of the data sets; on the Hub, names in STREAMS.
        source: `hub`, or a folder that has, for each data set, NAME_train*.parquet, NAME_test*.parquet and perhaps
            NAME_labels.txt, or a folder NAME that `load_source` reads.
        merged: as for `with_labels_apart`.
        split_train: the split to learn from.
        split_test: the split to test on.
        say: as for `load_source`.

    Raises:
        UserError: a data set is missing, cannot be read, or is named twice.
    """
    if len(set(names)) < len(names):
        raise UserError(f"a data set is named twice in {', '.join(names)}")
    return with_labels_apart({name: _load(name, str(source), split_train, split_test, say) for name in names}, merged)


def _load(name: str, source: str, split_train: str, split_test: str, say: Say) -> Pair:
    if source == HUB:
        if name not in STREAMS:
            raise unknown("data set", name, STREAMS)
        return load_source(name, split_train, split_test, say=say)
    folder = local_path(source)
    if not folder.is_dir():
        raise UserError(f"there is no folder {source!r}; give one with the data sets {name}, ..., or {HUB!r}")
    if (folder / name).is_dir():
        return load_source(str(folder / name), split_train, split_test, say=say)
    if parquet_files(folder, f"{name}_", Skipped()):
        pair = load_folder(folder.resolve(), split_train, split_test, None, None, prefix=f"{name}_", say=say)
        return with_test(pair, say)
    raise UserError(f"{folder} has neither {name}_{split_train}.parquet nor a folder {name}")


def with_labels_apart(sets: Mapping[str, Pair], merged: bool) -> dict[str, Pair]:
    """Return the data sets, with equal labels of different classes told apart: `Sports (agnews)`.

    With `merged`, data sets whose labels are all equal, such as Yelp's and Amazon's five stars, share their classes.
    The five text sets have 33 classes with it and 38 without.
    """
    labels = {name: frozenset(train.class_order or train.classes) for name, (train, _) in sets.items()}

    def renamed(name: str, examples: Examples) -> Examples:
        others = [own for other, own in labels.items() if other != name and not (merged and own == labels[name])]
        taken: frozenset[Hashable] = frozenset().union(*others)
        names = {label: f"{label} ({name})" if label in taken else label for label in labels[name]}
        order = [names[label] for label in examples.class_order or examples.classes]
        return examples.with_labels([names[label] for label in examples.labels], order)

    return {
        name: (renamed(name, train), None if test is None else renamed(name, test))
        for name, (train, test) in sets.items()
    }
