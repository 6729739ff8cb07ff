"""Images in one folder per class, in a folder for each split or all together."""

from pathlib import Path

from softtf.errors import UserError, unknown
from softtf.streams.archives import CUB_SPLIT, TINY_IMAGENET_VAL, cub, tiny_imagenet_val
from softtf.streams.examples import Examples
from softtf.streams.holdout import hold_out
from softtf.streams.splits import TEST, TRAIN, VALIDATION, Say, listed, named_as, say_splits
from softtf.streams.walk import Passed, counted, entries, images_below, is_image_name, say_passed

WHOLE = ("all", "train")  # what may be asked of a folder that has no splits


def load_image_folder(folder: Path, split_train: str, split_test: str, say: Say) -> tuple[Examples, Examples | None]:
    """Return the training and test examples of a folder of images.

    Raises:
        UserError: it holds no class folders with images, or no folder of a split that was asked for.
    """
    if (folder / CUB_SPLIT).is_file():
        train, test = cub(folder)
        say_splits(say, folder.name, (f"1 in {CUB_SPLIT}", train), (f"0 in {CUB_SPLIT}", test), ())
        return train, test
    passed = Passed()
    inside = _folders(folder, passed)
    found = named_as(split_train, [path.name for path in inside])
    if not found or _is_class(folder, found[0], inside):
        if split_train.lower() not in WHOLE:
            raise unknown(f"folder in {folder}", split_train, [path.name for path in inside])
        examples = _class_folders(folder, inside, folder.name, passed)
        say_passed(say, folder.name, passed)
        return hold_out(examples, say)
    train = _split(folder / found[0], passed)
    test_name = _test_folder(folder, split_test, [path.name for path in inside if path.name != found[0]])
    unread = [f"{path.name}/" for path in inside if path.name not in (found[0], test_name)]
    learned = (f"{found[0]}/", train)
    if test_name is None:
        say_splits(say, folder.name, learned, None, unread)
        say_passed(say, folder.name, passed)
        return hold_out(train, say)
    listed_there = (folder / test_name / TINY_IMAGENET_VAL).is_file()
    named = f"{folder.name}/{test_name}"
    test = tiny_imagenet_val(folder / test_name, named) if listed_there else _split(folder / test_name, passed)
    if unseen := set(test.classes).difference(train.classes):
        raise UserError(f"{folder / test_name}: class folder {min(map(str, unseen))!r} is not in {found[0]}/")
    say_splits(say, folder.name, learned, (f"{test_name}/", test), unread)
    say_passed(say, folder.name, passed)
    return train, test


def _test_folder(folder: Path, split: str, names: list[str]) -> str | None:
    """Return the name of the folder to test on; Tiny-ImageNet's test/ has no labels, its val/ has."""
    found = named_as(split, names)
    if not found and split.lower() != "test":
        raise unknown(f"folder in {folder}", split, names)
    with_list = [name for name in found if (folder / name / TINY_IMAGENET_VAL).is_file()]
    return next(iter(with_list or found), None)


def _is_class(folder: Path, name: str, inside: list[Path]) -> bool:
    """Say whether a folder named as a split is a class: it holds images, and no other folder is named as a split."""
    others = [path.name.lower() for path in inside if path.name != name]
    if not others or set(others) & {*TRAIN, *TEST, *VALIDATION}:
        return False
    return any(is_image_name(path.name) and path.is_file() for path in entries(folder / name, Passed()))


def _split(folder: Path, passed: Passed) -> Examples:
    return _class_folders(folder, _folders(folder, passed), f"{folder.parent.name}/{folder.name}", passed)


def _folders(folder: Path, passed: Passed) -> list[Path]:
    """Return the folders in a folder; files are counted, the images among them as what they are."""
    folders = []
    for path in entries(folder, passed):
        if path.is_dir():
            folders.append(path)
        else:
            ending = f"*{path.suffix.lower()}" if path.suffix else "without an ending"
            passed["images outside class folders" if is_image_name(path.name) else ending] += 1
    return folders


def _class_folders(folder: Path, classes: list[Path], name: str, passed: Passed) -> Examples:
    if not classes:
        found = f"; it holds {counted(passed)}" if passed else ""
        raise UserError(f"{folder}: no parquet files and no class folders with images in it{found}")
    rows: list[Path] = []
    labels: list[str] = []
    for path in classes:
        _check_class(path)
        own = Passed()
        images = images_below(path, own)
        if not images:
            found = f"it holds {counted(own)}" if own else "it is empty"
            raise UserError(f"{path}: this class folder holds no images ({found})")
        passed += own
        rows += images
        labels += [path.name] * len(images)
    return Examples(rows, labels, name)


def _check_class(folder: Path) -> None:
    """Refuse a class folder that holds only folders, unless it is one, `images`, as in Tiny-ImageNet.

    Raises:
        UserError: it does.
    """
    inside = entries(folder, Passed())
    folders = [path.name for path in inside if path.is_dir()]
    if folders and len(folders) == len(inside) and [name.lower() for name in folders] != ["images"]:
        splits = ", ".join((*TRAIN, *TEST, *VALIDATION))
        raise UserError(
            f"{folder}: this class folder holds only folders ({listed(folders)}); images stand in one folder a class,"
            f" FOLDER/<class>/* or FOLDER/<split>/<class>/*, and usual splits are {splits}; others are named with"
            " split_train and split_test"
        )
