"""List the versions of a folder's learner, take an earlier one up again, and remove those that are not needed."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from softtf.errors import UserError
from softtf.files.plain_json import read_small
from softtf.saving.history import version_files
from softtf.saving.manifest import MANIFEST, Manifest
from softtf.saving.task import read_task
from softtf.saving.versions import new_version


@dataclass(frozen=True)
class Version:
    """A version of a learner in a folder.

    Attributes:
        number: of an earlier one; None for the version that the folder holds now.
        saved: when it was saved, by the time of its manifest file.
        tasks: their names.
        classes: how many there are.
        identity: the SHA-256 over all its parts.
        own_bytes: of the files that no other version of the folder needs.
    """

    number: int | None
    saved: str
    tasks: tuple[str, ...]
    classes: int
    identity: str
    own_bytes: int


def list_versions(folder: str | Path) -> list[Version]:
    """Return the versions of the learner in a folder, the earliest first and that of now last.

    Raises:
        UserError: there is no learner, or a version is damaged.
    """
    folder = Path(folder)
    now = Manifest.read(folder)  # which says what is wrong with the folder, if anything is
    files: dict[int | None, Path] = {number: file for number, file in version_files(folder).items()}
    files[None] = folder / MANIFEST
    manifests = {number: Manifest.of_file(file) if file.exists() else now for number, file in files.items()}
    return [_version(number, files[number], manifests) for number in manifests]


def _version(number: int | None, file: Path, manifests: dict[int | None, Manifest]) -> Version:
    mine = manifests[number]
    tasks = [read_task(mine, task) for task in range(mine.tasks)]
    others = set[str]().union(*(found.files for other, found in manifests.items() if other != number))
    sizes = [path.stat().st_size for name in mine.files - others if (path := mine.folder / name).exists()]
    when = datetime.fromtimestamp(file.stat().st_mtime, UTC) if file.exists() else None
    return Version(
        number,
        f"{when:%Y-%m-%dT%H:%M:%SZ}" if when else "unknown",
        tuple(name for _, name, _ in tasks),
        len({label for labels, _, _ in tasks for label in labels}),
        mine.identity,
        sum(sizes),
    )


def restore_version(folder: str | Path, number: int) -> None:
    """Make an earlier version the one that a folder holds, in one step; the one of now becomes an earlier version.

    Raises:
        UserError: there is no such version, or a file of it is damaged; then nothing has changed.
    """
    folder = Path(folder)
    Manifest.read(folder)
    files = version_files(folder)
    if number not in files:
        known = ", ".join(map(str, files)) or "none; save with keep_versions=... to keep some"
        raise UserError(f"{folder} has no version {number}; its earlier versions: {known}")
    with new_version(folder, replace=True) as version:
        Manifest.of_file(files[number]).check_files()
        version.put(read_small(files[number]).decode(), len(files) + 1)


def prune_versions(folder: str | Path, keep: int = 0) -> int:
    """Remove a folder's earlier versions but for the `keep` newest, with the files that they alone need.

    What was taken out of a learner is in its earlier versions until they are removed.

    Returns:
        how many were removed.

    Raises:
        UserError: there is no learner, or somebody is saving there.
    """
    folder = Path(folder)
    if type(keep) is not int or keep < 0:
        raise UserError(f"keep must be a number of versions from 0, not {keep!r}")
    Manifest.read(folder)
    before = len(version_files(folder))
    with new_version(folder, replace=True) as version:
        version.keep = keep
    return before - len(version_files(folder))
