"""A folder that holds one version of a learner after another; each is there whole, or the one before it is.

A new version's files are written beside the old one's, under names of their own, but for those that are the same.
Moving its `manifest.json` into place is the one step that makes the folder the new version; then the old files are
removed. So a crash at any moment leaves the old version whole or the new one. Nothing outside the folder is touched.

Who reads the old version meanwhile goes on with the files that are open or mapped, which live until they are closed; if
a file is gone that was still to be read, the reader starts again with the new manifest (`load_learner`).
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from softtf.errors import UserError
from softtf.files.plain_json import read_object
from softtf.files.temporary import is_abandoned, is_of_file_system, is_temporary, temporary_name
from softtf.files.tensors import check_file, write_atomic
from softtf.saving.manifest import FILE, HEADER, MANIFEST, Manifest, Part


class NewVersion:
    """The next version of what a folder holds, on its way to the disk.

    old: the version that it replaces; None in a folder that was empty.
    """

    def __init__(self, folder: Path, old: Manifest | None) -> None:
        self.folder, self.old = folder, old
        self.parts: dict[str, Part] = {}

    def add(self, name: str, data: bytes) -> str:
        """Write a part, if the old version has not the same; return its SHA-256.

        Raises:
            UserError: it cannot be written.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        part = self.old.parts.get(name) if self.old else None
        if part is None or part.sha256 != sha256 or not self._is_whole(part):
            stem, ending = name.split(".")
            part = Part(f"{stem}.{sha256[:12]}.{ending}" if self.old else name, sha256)
            write_atomic(self.folder / part.file, data)
        self.parts[name] = part
        return sha256

    def _is_whole(self, part: Part) -> bool:
        try:
            check_file(self.folder / part.file, part.sha256)
        except UserError:
            return False
        return True

    def finish(self, sign: bytes | None = None) -> None:
        """Make the folder this version.

        Raises:
            UserError: the manifest cannot be written, or the key is too short.
        """
        Manifest(self.folder, self.parts).write(sign)


@contextmanager
def new_version(folder: Path, replace: bool) -> Iterator[NewVersion]:
    """Give the next version of a folder to write to; at the end remove what belongs to no version, whatever happened.

    While it is written a file of a `temporary_name` stands in the folder: it keeps other processes from saving there,
    and if this one is killed it says that what has no manifest may be removed.

    Args:
        folder: new, empty, what a killed save left, or with `replace` a learner's.
        replace: whether it may be a learner's.

    Raises:
        UserError: it holds something else, another process is saving there, or it cannot be written to.
    """
    made = _make(folder)
    marker = folder / temporary_name()
    try:
        with _in_one_line(folder):
            marker.touch(exist_ok=False)
        old = _old_version(folder, replace, marker)
    except BaseException:
        _remove(marker, folder if made else None)
        raise
    try:
        _sweep(folder, old)
        yield NewVersion(folder, old)
    finally:
        try:
            _sweep(folder, old)
        finally:
            _remove(marker, folder if made else None)


def _make(folder: Path) -> bool:
    with _in_one_line(folder):
        if folder.exists():
            if not folder.is_dir():
                raise UserError(f"{folder} exists and is not empty; choose another folder")
            return False
        folder.mkdir(parents=True, exist_ok=True)
        return True


@contextmanager
def _in_one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot save to {folder}: {reason}") from None


def _remove(marker: Path, made: Path | None) -> None:
    with suppress(OSError):
        marker.unlink(missing_ok=True)
        if made:
            made.rmdir()  # which fails, as it should, if anything is in it


def _old_version(folder: Path, replace: bool, marker: Path) -> Manifest | None:
    """Return what a folder holds; None for nothing."""
    with _in_one_line(folder):
        found = [path for path in folder.iterdir() if path != marker and not is_of_file_system(path)]
    if busy := [path for path in found if is_temporary(path) and not is_abandoned(path)]:
        raise UserError(
            f"somebody else is saving to {folder} ({busy[0].name}, of its machine and process); wait for that to end"
        )
    if not [path for path in found if not is_temporary(path)] or _is_left_over(found, folder):
        return None
    if not replace:
        raise UserError(
            f"{folder} exists and is not empty; choose another folder, or replace=True to replace a learner"
        )
    try:
        old = Manifest.read(folder)
    except UserError as error:
        raise UserError(f"{folder} is not empty, and replace=True replaces a whole learner only: {error}") from None
    run = folder.resolve().parent
    if (run / "config.yaml").exists() and folder.resolve().name == "learner":
        raise UserError(f"{folder} belongs to the run {run}, which would be lost; choose another folder")
    return old


def _is_left_over(found: list[Path], folder: Path) -> bool:
    """Say whether all that a folder holds was left there by a save that was killed before its end."""
    names = {path.name for path in found if not is_temporary(path)}
    if len(names) == len(found) or MANIFEST in names or not all(map(FILE.fullmatch, names)):
        return False
    try:
        return read_object(folder / HEADER).get("manifest") is True
    except UserError:
        return False


def _sweep(folder: Path, old: Manifest | None) -> None:
    """Remove files of the learner's names that are in no version, and temporary ones that nobody goes on with."""
    wanted = {MANIFEST}
    try:
        if old or (folder / MANIFEST).exists():
            wanted |= {part.file for part in Manifest.read(folder).parts.values()}
        left = [path for path in folder.iterdir() if path.name not in wanted]
    except (UserError, OSError):
        return  # what is wanted is not known
    for path in left:
        if FILE.fullmatch(path.name) or is_abandoned(path):
            with suppress(OSError):
                path.unlink()
