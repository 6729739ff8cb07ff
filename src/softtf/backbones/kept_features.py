"""The folder of kept features: where it is, what is in it, and what is removed when it grows too large.

Features reveal much about their inputs (docs/security.md), so people must be able to find and remove them.
"""

import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from softtf.files.temporary import is_temporary

OFF = "off"
LIMIT = "SOFTTF_CACHE_GB"
USUAL_LIMIT = 20.0  # GB
FILE = re.compile(r"[0-9a-f]{64}\.safetensors")

Say = Callable[[str], None]


def cache_folder(setting: str | None, say: Say) -> Path | None:
    """Return the folder that a setting names; None if features are not kept on disk.

    Args:
        setting: a folder, or `off` for none; None for what $SOFTTF_CACHE says, else ~/.cache/softtf/features.
        say: prints a note.
    """
    setting = setting or os.environ.get("SOFTTF_CACHE") or "~/.cache/softtf/features"
    if setting == OFF:
        return None
    folder = os.path.expanduser(setting)
    if folder.startswith("~"):  # it would be made in the working directory
        say(f"there is no home folder for {folder}; features are kept in memory only")
        return None
    return Path(folder)


def feature_files(folder: Path) -> dict[Path, int]:
    """Return the bytes of each file of features in a folder, the least recently used first."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):  # another process may remove it meanwhile
            if FILE.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                state = path.stat()
                found.append((state.st_mtime_ns, path, state.st_size))
    return {path: size for _, path, size in sorted(found)}


def cache_limit(say: Say) -> float:
    """Return how many bytes the files may take together: $SOFTTF_CACHE_GB, else 20 GB."""
    text = os.environ.get(LIMIT, "")
    try:
        limit = float(text) if text else USUAL_LIMIT
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        say(f"${LIMIT} must be a number of GB from 0 on, not {text!r}; {USUAL_LIMIT:g} GB are kept")
        limit = USUAL_LIMIT
    return limit * 1e9


def trim(folder: Path, limit: float) -> int:
    """Remove files of features, the least recently used first, until the rest take at most `limit` bytes.

    Returns:
        the number of files removed.
    """
    sizes = feature_files(folder)
    total, removed = sum(sizes.values()), 0
    for path, size in sizes.items():
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        total, removed = total - size, removed + 1
    return removed


def clear(folder: Path) -> int:
    """Remove all files of features, and unfinished ones; return how many files of features there were."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_temporary(path) or path.suffix == ".part":
            path.unlink(missing_ok=True)
    return trim(folder, -1)
