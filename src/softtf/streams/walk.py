"""What is read in a user's folder: images and folders. Everything else, litter and hidden files too, is counted.

Links are followed, those to folders as well; one that leads back to a folder that was read already is passed over.
"""

import functools
import os
from collections import Counter
from pathlib import Path

from PIL import Image, ImageFile

from softtf.errors import UserError
from softtf.streams.splits import Say

LITTER = frozenset(
    ("__macosx", "_macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "#recycle")
    + ("lost+found", "found.000", "system volume information", "__pycache__")
)
NOT_READ = frozenset(("MPEG", "EPS"))  # of one Pillow reads the size only; the other is a program, run by Ghostscript

Passed = Counter[str]
"""How many entries were passed over, by kind."""


@functools.cache
def image_formats() -> tuple[str, ...]:
    """Return every kind of image that Pillow itself can read here, by its names."""
    Image.init()
    return tuple(name for name, (factory, _) in Image.OPEN.items() if not _is_stub(factory) and name not in NOT_READ)


@functools.cache
def image_endings() -> frozenset[str]:
    """Return the endings, in lower case, of these kinds."""
    known = Image.registered_extensions().items()
    return frozenset(ending for ending, name in known if name in image_formats()) | {".mpo"}  # which are read as JPEG


def _is_stub(factory: object) -> bool:
    return isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)


def is_image_name(name: str) -> bool:
    """Say whether a file of this name is an image by its ending."""
    return os.path.splitext(name)[1].lower() in image_endings()


def is_litter(name: str) -> bool:
    """Say whether a file or folder of this name is hidden, or one that systems and programs leave behind."""
    return name.startswith((".", "~$")) or name.lower() in LITTER


def entries(folder: Path, passed: Passed) -> list[Path]:
    """Return what is in a folder but litter, sorted; litter is counted.

    Raises:
        UserError: a link leads nowhere.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if is_litter(path.name):
            passed[_kind(path)] += 1
        elif not path.exists():
            raise UserError(f"{path} is a link to {os.readlink(path)}, which is not there; mend it or remove it")
        else:
            found.append(path)
    return found


def images_below(folder: Path, passed: Passed) -> list[Path]:
    """Return the images anywhere below a folder, sorted; other files are counted.

    Raises:
        UserError: a link leads nowhere.
    """
    return sorted(_images(folder, passed, set()))


def _images(folder: Path, passed: Passed, seen: set[str]) -> list[Path]:
    if (place := os.path.realpath(folder)) in seen:
        passed["link to a folder that is read already"] += 1
        return []
    seen.add(place)
    found: list[Path] = []
    for path in entries(folder, passed):
        if path.is_dir():
            found += _images(path, passed, seen)
        elif is_image_name(path.name):
            found.append(path)
        else:
            passed[_kind(path)] += 1
    return found


def say_passed(say: Say, name: str, passed: Passed) -> None:
    """Say in one line what was passed over, if anything was."""
    if passed:
        say(f"{name}: passed over {counted(passed)}")


def counted(passed: Passed) -> str:
    """Return the numbers of what was passed over, by kind."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(passed.items()))


def _kind(path: Path) -> str:
    """Return what a file or folder that is passed over counts as."""
    if path.name.startswith("._"):
        return "._*"
    if is_litter(path.name):
        return path.name
    return f"*{path.suffix.lower()}" if path.suffix else "without an ending"
