"""The examples of a zip or tar file of images, or of several, by class folders or as a webdataset."""

from collections.abc import Sequence
from pathlib import Path

from softtf.errors import UserError, unknown
from softtf.streams.archive import CLASS, Archive, ArchiveImages, Member, images_of, webdataset_labels
from softtf.streams.examples import Examples
from softtf.streams.files import typed
from softtf.streams.image_folders import WHOLE
from softtf.streams.splits import Say, named_as, quiet, say_splits


def load_archive(file: Path, split_train: str, split_test: str, say: Say) -> tuple[Examples, Examples | None]:
    """Return the training and test examples of a zip or tar of images; without a test split these are None.

    Args:
        file: the archive; one folder around all others is passed over.
        split_train: the folder to learn from, by its usual names in any case.
        split_test: the folder to test on.
        say: is called with notes about the part of each split.

    Raises:
        UserError: the archive is damaged or unsafe, or holds no images with labels.
    """
    archive = Archive(file)
    images = images_of(archive)
    labels = webdataset_labels(archive, images)
    if labels is not None:
        _check_whole(file, split_train)
        return Examples(ArchiveImages(archive, images), typed(labels), file.name), None
    places = _places(file, images)
    splits = list(dict.fromkeys(place[0] for place in places)) if len(places[0]) == 3 else []

    def examples(split: str | None) -> Examples:
        rows = [i for i, place in enumerate(places) if split in (None, place[0])]
        name = file.name if split is None else f"{file.name}/{split}"
        return Examples(ArchiveImages(archive, [images[i] for i in rows]), [places[i][-2] for i in rows], name)

    if not splits:
        _check_whole(file, split_train)
        return examples(None), None
    if not (found := named_as(split_train, splits)):
        raise unknown(f"folder in {file}", split_train, splits)
    others = [split for split in splits if split != found[0]]
    tests = named_as(split_test, others)
    if not tests and split_test.lower() != "test":
        raise unknown(f"folder in {file}", split_test, others)
    train, test = examples(found[0]), examples(tests[0]) if tests else None
    unread = [f"{split}/" for split in others if split not in tests[:1]]
    say_splits(say, file.name, (f"{found[0]}/", train), None if test is None else (f"{tests[0]}/", test), unread)
    return train, test


def load_shards(
    files: Sequence[Path], name: str, split_train: str, split_test: str
) -> tuple[Examples, Examples | None]:
    """Return the training and test examples of several archives as those of one.

    Args:
        files: the archives, each as for `load_archive`.
        name: what errors call the examples.
        split_train: as for `load_archive`.
        split_test: as for `load_archive`.

    Raises:
        UserError: as for `load_archive`.
    """
    parts = [load_archive(file, split_train, split_test, quiet) for file in files]
    tests = [test for _, test in parts if test is not None]
    return _joined([train for train, _ in parts], name), _joined(tests, name) if tests else None


def _joined(parts: Sequence[Examples], name: str) -> Examples:
    """Return the examples of several archives; if the labels of one are no integers, those of none are."""
    whole = Examples.concatenate(parts)
    whole.name = name
    alike = len({type(label) for label in whole.labels}) == 1
    return whole if alike else whole.with_labels(map(str, whole.labels))


def _check_whole(file: Path, split: str) -> None:
    if split.lower() not in WHOLE:
        raise UserError(f"{file} has no splits; leave split_train out")


def _places(file: Path, images: Sequence[Member]) -> list[tuple[str, ...]]:
    """Return each image's [split,] class and name.

    Raises:
        UserError: images are not all in class folders, or not all of these in folders of splits.
    """
    places = [member.name.parts for member in images]
    while min(map(len, places)) > 2 and len({place[0] for place in places}) == 1:
        places = [place[1:] for place in places]
    if {len(place) for place in places} not in ({2}, {3}):
        raise UserError(
            f"{file}: images must be in one folder a class, <class>/* or <split>/<class>/*, or each beside its label,"
            f" 0001.jpg and 0001.{CLASS}"
        )
    return places
