"""Images in one folder for each class, inside a folder for each split or not."""

import os
from pathlib import Path

from softtf.errors import UserError, unknown
from softtf.streams.examples import Examples
from softtf.streams.listed_images import CUB_SPLIT, TINY_IMAGENET_VAL, cub, tiny_imagenet_val
from softtf.streams.splits import TEST, TRAIN, VALIDATION, Say, listed, named_as, say_splits
from softtf.streams.walk import ROWS, Skipped, counted, entries, images_below, is_image_name, say_skipped

WHOLE = ("all", "train")  # the splits of a folder without splits
IMAGES = "images"  # the one folder that may hold all images of a class


def load_image_folder(folder: Path, split_train: str, split_test: str, say: Say) -> tuple[Examples, Examples | None]:
    """Return the training and test examples of a folder of images; without a test split these are None.

    Raises:
        UserError: it holds no class folders with images, or no folder for a split that is named.
    """
    if (folder / CUB_SPLIT).is_file():
        train, test = cub(folder)
        say_splits(say, folder.name, (f"1 in {CUB_SPLIT}", train), (f"0 in {CUB_SPLIT}", test), ())
        return train, test
    skipped, below = Skipped(), Skipped()
    inside = _folders(folder, skipped)
    found = named_as(split_train, [path.name for path in inside])
    if not found or _is_class(folder, found[0], inside):
        if split_train.lower() not in WHOLE:
            raise unknown(f"folder in {folder}", split_train, [path.name for path in inside])
        examples = _class_folders(folder, inside, folder.name, skipped, below)
        _say_rest(say, folder.name, skipped, below)
        return examples, None
    train = _split(folder / found[0], skipped, below)
    test_name = _test_folder(folder, split_test, [path.name for path in inside if path.name != found[0]])
    unread = [f"{path.name}/" for path in inside if path.name not in (found[0], test_name)]
    learned = (f"{found[0]}/", train)
    if test_name is None:
        say_splits(say, folder.name, learned, None, unread)
        _say_rest(say, folder.name, skipped, below)
        return train, None
    listed_there = (folder / test_name / TINY_IMAGENET_VAL).is_file()
    named = f"{folder.name}/{test_name}"
    test = tiny_imagenet_val(folder / test_name, named) if listed_there else _split(folder / test_name, skipped, below)
    if unseen := set(test.classes).difference(train.classes):
        raise UserError(f"{folder / test_name}: class folder {min(map(str, unseen))!r} is not in {found[0]}/")
    say_splits(say, folder.name, learned, (f"{test_name}/", test), unread)
    _say_rest(say, folder.name, skipped, below)
    return train, test


def _test_folder(folder: Path, split: str, names: list[str]) -> str | None:
    """Return the name of the folder to test on; Tiny-ImageNet has labels in val/ and not in test/."""
    found = named_as(split, names)
    if not found and split.lower() != "test":
        raise unknown(f"folder in {folder}", split, names)
    with_list = [name for name in found if (folder / name / TINY_IMAGENET_VAL).is_file()]
    return next(iter(with_list or found), None)


def _is_class(folder: Path, name: str, inside: list[Path]) -> bool:
    """Return whether a folder with a split's name is a class: it holds images, and no other folder has such a name."""
    others = [path.name.lower() for path in inside if path.name != name]
    if not others or set(others) & {*TRAIN, *TEST, *VALIDATION}:
        return False
    return any(is_image_name(path.name) and path.is_file() for path in entries(folder / name, Skipped()))


def _split(folder: Path, skipped: Skipped, below: Skipped) -> Examples:
    return _class_folders(folder, _folders(folder, skipped), f"{folder.parent.name}/{folder.name}", skipped, below)


def _folders(folder: Path, skipped: Skipped) -> list[Path]:
    """Return the folders in a folder; files are counted, and images among them are counted apart."""
    folders = []
    for path in entries(folder, skipped):
        if path.is_dir():
            folders.append(path)
        else:
            ending = f"*{path.suffix.lower()}" if path.suffix else "without an ending"
            skipped["images outside class folders" if is_image_name(path.name) else ending] += 1
    return folders


def _class_folders(folder: Path, classes: list[Path], name: str, skipped: Skipped, below: Skipped) -> Examples:
    if not classes:
        found = f"; it holds {counted(skipped)}" if skipped else ""
        if any(f"*{ending}" in skipped for ending in ROWS):
            found += ". Rows are read from one file: put them together, with train or test in a column `split`"
        raise UserError(f"{folder}: no parquet files and no class folders with images in it{found}")
    rows: list[Path] = []
    labels: list[str] = []
    inside: dict[Path, Skipped] = {}
    for path in classes:
        own = Skipped()
        images = images_below(path, own)
        if not images:
            found = f"it holds {counted(own)}" if own else "it is empty"
            raise UserError(f"{path}: this class folder holds no images ({found})")
        inside[path] = _by_folder(path, images)
        skipped += own
        rows += images
        labels += [path.name] * len(images)
    _check_classes(inside)
    for counts in inside.values():
        below.update({name: count for name, count in counts.items() if name and name.lower() != IMAGES})
    return Examples(rows, labels, name)


def _by_folder(folder: Path, images: list[Path]) -> Skipped:
    """Return how many images each folder in a class folder holds; images outside such folders count as ``""``.

    If all are in one folder named `images`, as in Tiny-ImageNet, the folders in that one count.
    """
    places = [str(image)[len(str(folder)) :].strip(os.sep) for image in images]
    counts = Skipped(place.partition(os.sep)[0] if os.sep in place else "" for place in places)
    if len(counts) == 1 and next(iter(counts)).lower() == IMAGES:
        inner = folder / next(iter(counts))
        return _by_folder(inner, images)
    return counts


def _check_classes(inside: dict[Path, Skipped]) -> None:
    """Refuse class folders that must be splits or groups of classes.

    All their images are in folders; or fewer are outside these folders than in any of them, and another class folder
    has the same two or more folders.

    Raises:
        UserError: there is such a class folder.
    """
    names = {path: frozenset(counts) - {""} for path, counts in inside.items()}
    for path, counts in inside.items():
        shared = len(names[path]) > 1 and list(names.values()).count(names[path]) > 1
        if "" not in counts or (shared and counts[""] < min(counts[name] for name in names[path])):
            splits = ", ".join((*TRAIN, *TEST, *VALIDATION))
            raise UserError(
                f"{path}: the images of this class folder are in folders ({listed(sorted(names[path]))}); images"
                " must be in one folder a class, FOLDER/<class>/* or FOLDER/<split>/<class>/*, and usual splits are"
                f" {splits}; name others with split_train and split_test"
            )


def _say_rest(say: Say, name: str, skipped: Skipped, below: Skipped) -> None:
    """Say what was skipped, and which images are read from folders inside class folders."""
    say_skipped(say, name, skipped)
    if below:
        folders = listed([f"{folder}/ ({count:,})" for folder, count in sorted(below.items())])
        say(f"{name}: also reads {below.total():,} images in folders of class folders: {folders}")
