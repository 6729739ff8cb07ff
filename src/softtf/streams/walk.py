"""The images and folders in a user's folder. Everything else, such as hidden files, is skipped and counted.

Links are followed, to folders too; a link back to a folder that has been read is skipped.
"""

import functools
import os
from collections import Counter
from pathlib import Path

from PIL import Image

from softtf.errors import UserError
from softtf.streams.splits import Say

LITTER = frozenset(
    ("__macosx", "_macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "#recycle")
    + ("lost+found", "found.000", "system volume information", "__pycache__")
)
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP")
"""The image formats that are read, by Pillow's names. Of the others some run a program (EPS), open an inner file of any
format or size (IPTC, ICO, ICNS), unpack without a bound (FITS) or tell only their size (MPEG)."""

ROWS = (".csv", ".tsv", ".jsonl")
"""The endings of text files of rows. One such file is data; a folder of them is not."""

Skipped = Counter[str]
"""How many entries were skipped, by kind."""


@functools.cache
def image_formats() -> tuple[str, ...]:
    """Return those of FORMATS that Pillow can read here: its builds differ."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def image_endings() -> frozenset[str]:
    """Return the file endings of these formats, in lower case."""
    known = Image.registered_extensions().items()
    return frozenset(ending for ending, name in known if name in image_formats()) | {".mpo"}  # read as JPEG


def is_image_name(name: str) -> bool:
    """Return whether a file is an image, by its ending."""
    return os.path.splitext(name)[1].lower() in image_endings()


def is_litter(name: str) -> bool:
    """Return whether a file or folder is hidden, or left behind by a system or program, by its name."""
    return name.startswith((".", "~$")) or name.lower() in LITTER


def entries(folder: Path, skipped: Skipped) -> list[Path]:
    """Return the sorted entries of a folder without litter, which is counted.

    Raises:
        UserError: a link is broken.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if is_litter(path.name):
            skipped[_kind(path)] += 1
        elif not path.exists():
            raise UserError(f"{path} is a link to {os.readlink(path)}, which is missing; repair it or remove it")
        else:
            found.append(path)
    return found


def images_below(folder: Path, skipped: Skipped) -> list[Path]:
    """Return the images anywhere below a folder, sorted; other files are counted.

    Raises:
        UserError: a link is broken.
    """
    return sorted(_images(folder, skipped, set()))


def _images(folder: Path, skipped: Skipped, seen: set[str]) -> list[Path]:
    if (place := os.path.realpath(folder)) in seen:
        skipped["link to a folder that is read already"] += 1
        return []
    seen.add(place)
    found: list[Path] = []
    for path in entries(folder, skipped):
        if path.is_dir():
            found += _images(path, skipped, seen)
        elif is_image_name(path.name):
            found.append(path)
        else:
            skipped[_kind(path)] += 1
    return found


def say_skipped(say: Say, name: str, skipped: Skipped) -> None:
    """Say in one line what was skipped, if anything was."""
    if skipped:
        say(f"{name}: skipped {counted(skipped)}")


def counted(skipped: Skipped) -> str:
    """Return how many entries of each kind were skipped, in words."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items()))


def _kind(path: Path) -> str:
    """Return the kind of a file or folder that is skipped."""
    if path.name.startswith("._"):
        return "._*"
    if is_litter(path.name):
        return path.name
    return f"*{path.suffix.lower()}" if path.suffix else "without an ending"


def no_pattern(path: str, remedy: str = "a path is no pattern: give softtf.glob(pattern), or a folder") -> str:
    """Return what to add to a message about a path that is not there: a remedy, if it looks like a pattern."""
    if {"{", "}"} <= set(path):
        remedy = "a range is read in the names of archives alone, shard-{000..009}.tar; give a folder, or one file"
    return f"; {remedy}" if set("*?[{") & set(path) else ""
