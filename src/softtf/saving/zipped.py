"""A learner in one zip file, to send it.

Its files are stored in the archive as they are, so an archive cannot unpack to more than its own size. Only names of a
learner's files are taken from it, all in one folder, and what is unpacked must be a whole learner.
"""

import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from softtf.devices.memory import needs_memory
from softtf.errors import UserError, reason_of
from softtf.files.new_folder import new_folder
from softtf.files.reading import open_regular
from softtf.files.temporary import temporary_name
from softtf.saving.card import CARD
from softtf.saving.manifest import FILE, MANIFEST, Manifest

MOST_FILES = 100_000
LONGEST_LIST = 2**24  # bytes of the list of files at an archive's end
END, END_64, LOCATOR_64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
DATE = (1980, 1, 1, 0, 0, 0)  # of all files, so that the same learner gives the same archive


def pack(folder: Path, file: Path) -> None:
    """Write a learner's folder into a new zip file; it is there whole or not at all.

    Raises:
        UserError: it is no whole learner, the file exists, or it cannot be written.
    """
    if file.exists() or file.is_symlink():
        raise UserError(f"{file} exists; choose another file")
    manifest = Manifest.read(folder)
    manifest.check_files()
    names = sorted(manifest.files)
    names += [name for name in (CARD, MANIFEST) if (folder / name).is_file()]
    temp = file.with_name(temporary_name())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temp, "x", zipfile.ZIP_STORED) as archive:
            for name in names:
                info = zipfile.ZipInfo(name, DATE)
                info.external_attr = (stat.S_IFREG | 0o644) << 16
                with open_regular(folder / name) as source, archive.open(info, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target)
        temp.rename(file)
    except OSError as error:
        raise UserError(f"cannot write {file}: {reason_of(error)}") from error
    finally:
        temp.unlink(missing_ok=True)


@needs_memory("unpack the learner")
def unpack(file: Path, folder: Path) -> None:
    """Unpack a zip file that somebody else may have made into a new folder; it is there whole or not at all.

    Raises:
        UserError: the file is no archive of a whole learner that `pack` wrote, or the folder is not empty.
    """
    with new_folder(folder) as place:
        try:
            with open_regular(file) as source, _archive(source, file) as archive:
                for info in _checked(archive, file, source.seek(0, 2)):
                    with archive.open(info) as data, open(place / info.filename, "xb") as target:
                        shutil.copyfileobj(data, target)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise _foreign(file, str(error) or "it is cut off") from None
        except OSError as error:
            raise UserError(f"cannot unpack {file}: {reason_of(error)}") from None
        manifest = Manifest.read(place)
        manifest.check_files()
        if extra := sorted({path.name for path in place.iterdir()} - manifest.files - {CARD, MANIFEST}):
            raise _foreign(file, f"{extra[0]!r} is no part of the learner")


@contextmanager
def _archive(source: BinaryIO, file: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose list of files is not too long to be read.

    Raises:
        UserError: it is too long, or the file does not end as `pack` writes it.
    """
    size = source.seek(0, 2)
    source.seek(max(0, size - 98))
    tail = source.read()
    if tail[-22:-18] != END:
        raise _foreign(file, "it does not end like a zip file without a comment")
    length = int.from_bytes(tail[-10:-6], "little")
    if tail[-42:-38] == LOCATOR_64:
        if tail[:4] != END_64:
            raise _foreign(file, "its list of files is not where it should be")
        length = max(length if length < 2**32 - 1 else 0, int.from_bytes(tail[40:48], "little"))
    if length > LONGEST_LIST:
        raise _foreign(file, f"its list of files has {length:,} bytes; at most {LONGEST_LIST:,} are read")
    with zipfile.ZipFile(source) as archive:
        yield archive


def _checked(archive: zipfile.ZipFile, file: Path, size: int) -> list[zipfile.ZipInfo]:
    """Return the files of an archive of `size` bytes; raises UserError if one is not as `pack` writes it."""
    found = archive.infolist()
    if len(found) > MOST_FILES:
        raise _foreign(file, f"it has {len(found):,} files; at most {MOST_FILES:,} are read")
    for info in found:
        if not FILE.fullmatch(info.orig_filename) and info.orig_filename not in (CARD, MANIFEST):
            raise _foreign(file, f"{info.orig_filename!r} is not the name of a learner's file")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise _foreign(file, f"{info.filename!r} is no plain file")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise _foreign(file, f"{info.filename!r} is compressed or encrypted")
    if len({info.filename for info in found}) < len(found):
        raise _foreign(file, "it has a name twice")
    if sum(info.file_size for info in found) > size:
        raise _foreign(file, "its files are larger than itself")
    return found


def _foreign(file: Path, reason: str) -> UserError:
    return UserError(f"{file} is no learner that `softtf learner pack` wrote: {reason}")
