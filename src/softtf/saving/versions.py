"""Replace the learner in a folder by its next version; a crash leaves either version complete.

The files of the new version are written beside the old ones, under other names; files that are equal are kept. Moving
`manifest.json` into place is the one step that replaces the old version. After it, the old files are removed, unless
earlier versions are to be kept (`softtf.saving.history`). Nothing outside the folder is touched.

A process that reads the old version meanwhile keeps the files that it has open or mapped. If a file that it still needs
is gone, it starts again with the new manifest (`load_learner`).
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from softtf.errors import UserError, reason_of
from softtf.files.plain_json import read_object
from softtf.files.temporary import is_abandoned, is_of_file_system, is_temporary, temporary_name
from softtf.files.tensors import check_file, write_atomic
from softtf.saving.history import drop_versions, keep_version
from softtf.saving.manifest import FILE, HEADER, MANIFEST, Manifest, Part


class NewVersion:
    """The next version of a folder's learner, while it is written.

    old: the version that it replaces; None in a folder that was empty. keep: how many earlier versions stay once it is
    there; None: all that there are.
    """

    keep: int | None = None

    def __init__(self, folder: Path, old: Manifest | None) -> None:
        self.folder, self.old = folder, old
        self.parts: dict[str, Part] = {}

    def add(self, name: str, data: bytes) -> str:
        """Write a part, unless the old version has an equal one; return its SHA-256.

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

    def finish(self, sign: bytes | None = None, keep: int = 0) -> str:
        """Make this the version that the folder holds, and return its identity.

        Args:
            sign: a secret key.
            keep: how many earlier versions stay, the newest ones.

        Raises:
            UserError: the manifest cannot be written, or the key is too short.
        """
        new = Manifest(self.folder, self.parts)
        self.put(new.text(sign), keep)
        return new.identity

    def put(self, text: str, keep: int) -> None:
        """Make the version of a manifest's text the one that the folder holds; the files of its parts are there."""
        if keep and self.old:
            keep_version(self.old)
        write_atomic(self.folder / MANIFEST, text)
        self.keep = keep


@contextmanager
def new_version(folder: Path, replace: bool) -> Iterator[NewVersion]:
    """Yield the next version of a folder, to be written; afterwards remove files that belong to no version.

    Meanwhile a file with a `temporary_name` is in the folder. It keeps other processes from saving there. If this
    process is killed, it marks files without a manifest as removable.

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
    version = NewVersion(folder, old)
    try:
        _sweep(folder, old, None)
        yield version
    finally:
        try:
            _sweep(folder, old, version.keep)
        finally:
            _remove(marker, folder if made else None)


def check_place(folder: Path, replace: bool) -> None:
    """Refuse at once a folder that `new_version` would refuse after the work whose result it is to hold.

    Raises:
        UserError: it holds something else, or another process is saving there.
    """
    with _in_one_line(folder):
        exists = folder.exists()
    if exists:
        _make(folder)
        _old_version(folder, replace)


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
        raise UserError(f"cannot save to {folder}: {reason_of(error)}") from None


def _remove(marker: Path, made: Path | None) -> None:
    with suppress(OSError):
        marker.unlink(missing_ok=True)
        if made:
            made.rmdir()  # which fails, as it should, if anything is in it


def _old_version(folder: Path, replace: bool, marker: Path | None = None) -> Manifest | None:
    """Return the version that a folder holds beside our own `marker`; None if there is none."""
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
            f"{folder} exists and is not empty; choose another folder, or replace a learner (replace=True, --in-place)"
        )
    try:
        old = Manifest.read(folder)
    except UserError as error:
        raise UserError(f"{folder} is not empty, and only a whole learner can be replaced: {error}") from None
    run = folder.resolve().parent
    if (run / "config.yaml").exists() and folder.resolve().name == "learner":
        raise UserError(f"{folder} belongs to the run {run}, which would be lost; choose another folder")
    return old


def _is_left_over(found: list[Path], folder: Path) -> bool:
    """Return whether a folder holds only what an interrupted save left there."""
    names = {path.name for path in found if not is_temporary(path)}
    if len(names) == len(found) or MANIFEST in names or not all(map(FILE.fullmatch, names)):
        return False
    try:
        return read_object(folder / HEADER).get("manifest") is True
    except UserError:
        return False


def _sweep(folder: Path, old: Manifest | None, keep: int | None) -> None:
    """Remove earlier versions but for `keep`, files that belong to no version, and temporary ones that nobody uses."""
    wanted = {MANIFEST}
    try:
        if old or (folder / MANIFEST).exists():
            now = Manifest.read(folder)
            earlier = drop_versions(now, keep)
            wanted |= now.files.union(*(version.files for version in earlier))
        left = [path for path in folder.iterdir() if path.name not in wanted]
    except (UserError, OSError):
        return  # what is wanted is not known
    for path in left:
        if FILE.fullmatch(path.name) or is_abandoned(path):
            with suppress(OSError):
                path.unlink()
