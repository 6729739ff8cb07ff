"""Reading files that anyone may have made: regular files only, opened without waiting, up to a limit.

A pipe would wait for ever, /dev/zero would never end, and files in /proc do not tell their size. A refusal is an
OSError whose text gives the reason, as if the system had refused.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

SETTINGS = 2**24
"""The most bytes that are read of a settings file."""
IMAGE = 2**29
"""The most bytes that are read of an image file."""
LARGEST_IMAGE = 2**28 // 3
"""The most pixels that are read of an image: a quarter of a GiB in RGB; Pillow warns of larger ones."""
ROWS = 2**31
"""The most bytes that are read of a file of rows or lines."""
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
STEP = 2**16  # bytes in each read of a file of unknown size


def open_regular(path: Path, most: int | None = None) -> BufferedReader:
    """Open a regular file for reading; anything else is refused without a wait.

    Args:
        path: the file.
        most: the most bytes it may have; None is the memory of this machine.

    Raises:
        OSError: the file cannot be opened, is not a regular file, or is larger.
    """
    wait_not = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    opened = open(path, "rb", opener=lambda name, flags: os.open(name, flags | wait_not))  # noqa: SIM115
    try:
        about = os.fstat(opened.fileno())
        check_regular(about.st_mode)
        limit = memory() if most is None else most
        if about.st_size > limit:
            raise OSError(errno.EFBIG, f"it has {about.st_size:,} bytes; at most {limit:,} are read")
    except BaseException:
        opened.close()
        raise
    return opened


def check_regular(mode: int) -> None:
    """Refuse anything but a regular file, by its mode.

    Raises:
        OSError: the mode is not that of a regular file.
    """
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in KINDS if is_kind(mode)), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file")


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Return the content of a regular file; arguments and errors are as for `open_regular`."""
    limit = memory() if most is None else most
    with open_regular(path, limit) as opened:
        parts = [opened.read(os.fstat(opened.fileno()).st_size) or b""]
        size = len(parts[0])
        while more := opened.read(min(STEP, limit + 1 - size)):  # the file grows, or is in /proc
            parts.append(more)
            size += len(more)
            if size > limit:
                raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes; at most that many are read")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_text(path: Path, most: int = SETTINGS, encoding: str = "utf-8") -> str:
    """Return the text of a regular file, with all line ends as newlines.

    Raises:
        OSError: as for `open_regular`.
        UnicodeDecodeError: the text has another encoding.
    """
    return read_bytes(path, most).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def memory() -> int:
    """Return the size of this machine's memory in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # where the system does not tell
        return 2**40
