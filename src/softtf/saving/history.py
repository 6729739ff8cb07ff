"""Earlier versions of a folder's learner: their manifests are kept as `version-001.json` and so on.

A version's files stay in the folder as long as its manifest does, and files that versions have in common are there
once. To take an earlier version up again is to move its manifest into place.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

from softtf.errors import UserError
from softtf.files.plain_json import read_small
from softtf.files.tensors import write_atomic
from softtf.saving.manifest import MANIFEST, Manifest

VERSION = re.compile(r"version-([0-9]{3,9})\.json")


def version_files(folder: Path) -> dict[int, Path]:
    """Return the manifests of a folder's earlier versions by their numbers, the oldest first."""
    found = {int(match[1]): path for path in folder.iterdir() if (match := VERSION.fullmatch(path.name))}
    return dict(sorted(found.items()))


def keep_version(now: Manifest) -> None:
    """Keep the version that a folder holds as the newest of its earlier ones; its file's time stays.

    Raises:
        UserError: its manifest cannot be written.
    """
    file = now.folder / MANIFEST
    text = read_small(file) if file.exists() else now.text().encode()
    known = version_files(now.folder)
    if text in map(read_small, list(known.values())[-1:]):
        return  # a save that was killed kept it
    target = now.folder / f"version-{max(known, default=0) + 1:03d}.json"
    write_atomic(target, text)
    if file.exists():
        about = file.stat()
        os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))


def drop_versions(now: Manifest, keep: int | None) -> list[Manifest]:
    """Remove the manifests of earlier versions but for the `keep` newest, and those equal to `now`; return the rest.

    keep: None removes none.

    Raises:
        UserError: one that stays is damaged, so that it is not known which files it needs.
    """
    if keep is None:
        return [Manifest.of_file(file) for file in version_files(now.folder).values()]
    files = list(version_files(now.folder).values())
    kept = [file for file in files if _identity(file) != now.identity][-keep:] if keep else []
    for file in files:
        if file not in kept:
            with suppress(OSError):
                file.unlink()
    return [Manifest.of_file(file) for file in kept]


def _identity(file: Path) -> str | None:
    try:
        return Manifest.of_file(file).identity
    except UserError:
        return None
