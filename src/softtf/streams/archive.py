"""Images in a zip or tar file, read where they lie: nothing is unpacked to disk, and only one image at a time.

A compressed tar cannot be read in the middle: it is unpacked into memory, up to a limit.

The images are in class folders, as in a folder on disk, or are samples of a webdataset: members of one name and several
endings, `0001.jpg` beside `0001.cls`, which holds the label. Archives may come from anybody: links, names that lead
outside, and more members or bytes than images have are refused before an image is read.
"""

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np

from softtf.errors import UserError, one_line
from softtf.files.reading import IMAGE, SETTINGS, open_regular
from softtf.streams.walk import is_image_name, is_litter

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
CLASS = "cls"  # the ending of a webdataset's labels
LONGEST_LABEL = 10_000
"""Bytes of a webdataset's label."""
MOST = 2**19
"""Members of an archive."""
LARGEST, TIMES = 2**30, 200
"""Bytes that all members of a zip may have unpacked; or times the archive's own size, if that is more.

A compressed tar may have LARGEST bytes, as they are in memory.
"""
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class Member(NamedTuple):
    """A file in an archive: its name, its bytes, and where it is (an offset, or zipfile's own entry)."""

    name: PurePosixPath
    size: int
    place: Any


class Archive:
    """The files in an archive that are not hidden.

    Raises:
        UserError: it is damaged, or its members are not those of an archive of images (see above).
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.members: list[Member] = []
        self._opened: dict[int, zipfile.ZipFile] = {}
        ending = ending_of(file)
        self._unpacked = _unpacked(file) if ending in (".tar.gz", ".tgz") else None
        for member in self._checked(self._zip if ending == ".zip" else self._tar):
            self.members.append(member)
            if len(self.members) > MOST:
                raise UserError(f"{file} has more than {MOST:,} members; cut it in pieces")

    def read(self, member: Member, most: int = IMAGE) -> bytes:
        """Return a member's bytes.

        Raises:
            UserError: it is damaged, or has more than `most` bytes.
        """
        if member.size > most:
            raise UserError(f"{self.file}: {member.name} has {member.size:,} bytes; at most {most:,} are read")
        try:
            if isinstance(member.place, int):
                with self._open() as opened:
                    opened.seek(member.place)
                    data = opened.read(member.size)
            else:
                with self._handle().open(member.place) as entry:
                    data = entry.read(member.size + 1)
        except Exception as error:  # zlib, struct and others have kinds of their own
            raise _damaged(self.file, error) from error
        if len(data) != member.size:
            raise UserError(f"{self.file}: {member.name} has not the {member.size:,} bytes that it should have")
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": {}}

    def _open(self) -> IO[bytes]:
        return open_regular(self.file, 2**60) if self._unpacked is None else io.BytesIO(self._unpacked)

    def _handle(self) -> zipfile.ZipFile:
        """Return the zip, opened once in each process: threads may share it."""
        process = os.getpid()
        if process not in self._opened:
            self._opened = {process: zipfile.ZipFile(open_regular(self.file, 2**60))}
        return self._opened[process]

    def _checked(self, members: Callable[[], Iterator[Member]]) -> Iterator[Member]:
        """Yield members with safe names, without hidden ones; every error becomes a UserError."""
        try:
            for member in members():
                parts = member.name.parts
                if member.name.is_absolute() or ".." in parts or "\0" in str(member.name) or ":" in parts[0]:
                    raise UserError(
                        f"{self.file}: the name {str(member.name)!r} leads outside the archive; pack it again"
                    )
                if not any(map(is_litter, parts)):
                    yield member
        except UserError:
            raise
        except Exception as error:  # of broken archives: many kinds
            raise _damaged(self.file, error) from error

    def _tar(self) -> Iterator[Member]:
        with self._open() as opened:
            whole = opened.seek(0, os.SEEK_END)
            opened.seek(0)
            archive = tarfile.open(fileobj=opened, mode="r:", tarinfo=_BoundedInfo)  # noqa: SIM115 - `opened` is closed
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined] # of which it would keep all
                name = _name(info.name)
                if info.islnk() or info.issym():
                    raise UserError(f"{self.file}: {name} is a link to {info.linkname!r}; pack files, not links")
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    raise UserError(f"{self.file}: {name} is no plain file; pack plain files alone")
                if info.offset_data + info.size > whole:
                    raise UserError(f"{self.file} ends in the middle of {name}; copy or make it again")
                yield Member(name, info.size, info.offset_data)

    def _zip(self) -> Iterator[Member]:
        with open_regular(self.file, 2**60) as opened:
            own, end = os.fstat(opened.fileno()).st_size, zipfile._EndRecData(opened)  # type: ignore[attr-defined]
            if end and end[5] > 2**7 * MOST:
                raise UserError(f"{self.file} has more than {MOST:,} members; cut it in pieces")
            left = max(LARGEST, TIMES * own)
            with zipfile.ZipFile(opened) as archive:
                for info in archive.infolist():
                    name = _name(info.filename)
                    if stat.S_ISLNK(info.external_attr >> 16):
                        raise UserError(f"{self.file}: {name} is a link; pack files, not links")
                    if info.is_dir():
                        continue
                    if info.flag_bits & 1 or info.compress_type not in PLAIN:
                        raise UserError(f"{self.file}: {name} is encrypted or packed in a rare way; use plain zip")
                    if (left := left - info.file_size) < 0:
                        raise UserError(
                            f"{self.file}: unpacked it would have more than {TIMES} times its own bytes, which no"
                            " pictures have"
                        )
                    yield Member(name, info.file_size, info)


class _BoundedInfo(tarfile.TarInfo):
    """A member whose long name, or other header, is small: tarfile reads headers as a whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_BoundedInfo":
        found = super().frombuf(buf, encoding, errors)
        if found.type in HEADERS and found.size > SETTINGS:
            raise UserError(f"a header of the tar has {found.size:,} bytes; it is damaged")
        return found


def ending_of(file: Path) -> str | None:
    """Return which of ARCHIVES a file's name ends in, in any case; None if in none."""
    return next((ending for ending in ARCHIVES if file.name.lower().endswith(ending)), None)


def _unpacked(file: Path) -> bytes:
    """Return a compressed tar's content.

    Raises:
        UserError: it is damaged, or too large for memory.
    """
    try:
        with open_regular(file, 2**60) as opened, gzip.open(opened) as packed:
            data: bytes = packed.read(LARGEST + 1)
    except Exception as error:  # OSError, EOFError, zlib.error
        raise _damaged(file, error) from error
    if len(data) > LARGEST:
        raise UserError(
            f"{file} has more than {LARGEST:,} bytes unpacked; unpack it once by gunzip: a .tar is read where it lies"
        )
    return data


def _name(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _damaged(file: Path, error: Exception) -> UserError:
    reason = one_line(error, 200) or type(error).__name__
    ending = ending_of(file)
    plain = ", without compression around it" if ending in (".zip", ".tar") else ""
    return UserError(f"{file} is not a readable {ending} file{plain}: {reason}")


class ArchiveImages(Sequence[dict[str, Any]]):
    """Some members of an archive as `{"bytes", "path"}`, read when they are asked for."""

    def __init__(self, archive: Archive, members: Sequence[Member]) -> None:
        self.archive, self.chosen = archive, list(members)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: Any) -> Any:
        member = self.chosen[index]
        return {"bytes": self.archive.read(member), "path": str(member.name)}

    def sizes(self) -> np.ndarray[Any, Any]:
        """Return the bytes of each image, int64 [images]."""
        return np.array([member.size for member in self.chosen], np.int64)


def images_in_archive(file: Path) -> ArchiveImages:
    """Return all images of an archive, sorted by name; errors are as for `Archive` and `images_of`."""
    archive = Archive(file)
    return ArchiveImages(archive, images_of(archive))


def images_of(archive: Archive) -> list[Member]:
    """Return the images of an archive, sorted by name; refuse one without any, with a UserError."""
    found = sorted(member for member in archive.members if is_image_name(member.name.name))
    if not found:
        raise UserError(f"{archive.file} holds no images")
    return found


def webdataset_labels(archive: Archive, images: Sequence[Member]) -> list[str] | None:
    """Return the label of each image by the member beside it that ends in `.cls`; None if there is no such member.

    Raises:
        UserError: an image has no label, or shares it with another image; or a label is no text.
    """
    labels = {_key(member): member for member in archive.members if _ending(member) == CLASS}
    if not labels:
        return None
    keys = [_key(member) for member in images]
    twice, count = Counter(keys).most_common(1)[0]
    if count > 1:
        raise UserError(f"{archive.file}: several images are called {twice!r}; keep one for each .{CLASS}")
    if missing := [key for key in keys if key not in labels]:
        raise UserError(f"{archive.file}: there is no {missing[0]}.{CLASS} with the label of an image")
    try:
        return [archive.read(labels[key], LONGEST_LABEL).decode("utf-8").strip() for key in keys]
    except UnicodeDecodeError:
        raise UserError(f"{archive.file}: a .{CLASS} holds no text in UTF-8") from None


def _key(member: Member) -> str:
    """Return what the members of a sample have in common: the name up to the first dot of its last part."""
    return str(member.name.parent / member.name.name.partition(".")[0])


def _ending(member: Member) -> str:
    return member.name.name.partition(".")[2].lower()
