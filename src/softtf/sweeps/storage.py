"""Files at a URL that fsspec writes to, such as s3://bucket/big."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from softtf.errors import UserError, one_line
from softtf.files.temporary import temporary_name

LASTING = (ImportError, PermissionError, NotImplementedError)
"""Errors of file systems that come again each time: no package, no right."""


class AwayError(UserError):
    """The storage at a URL cannot be read or written."""


class DownError(AwayError):
    """The storage at a URL cannot be reached now; later it may be."""


class GoneError(DownError):
    """A file, or a bucket, is not there."""


class Storage:
    """The files below a URL; their names are relative to it.

    Args:
        url: as fsspec reads it.

    Raises:
        AwayError: there is no such storage, the package for it is missing, or it cannot be reached; so do all methods.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if "::" in url:
            raise AwayError(f"{url!r}: a chain of file systems cannot be written to; give a plain URL")
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        options = {"auto_mkdir": True} if url.startswith(("file:", "local:")) else {}
        with self._reaching(ValueError):  # of a kind of URL that is unknown
            self.files, root = url_to_fs(self.url, **options)
        self.root: str = root.rstrip("/")

    def names(self, below: str = "") -> list[str]:
        """Return the names of all files in a folder, relative to it."""
        return list(self.states(below))

    def states(self, below: str = "") -> dict[str, str]:
        """Return what the storage says of each file in a folder, which changes with the file; by its name."""
        folder = f"{self.root}/{below}".rstrip("/")
        with self._reaching():
            self.files.invalidate_cache()
            listed = self.files.find(folder, detail=True)
            found = {file.removeprefix(folder + "/"): str(about) for file, about in listed.items()}
        if beyond := [name for name in found if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]:
            raise AwayError(f"{self.url}/{below} holds {beyond[0]!r}, which no sweep has written")
        return found

    def fetch(self, name: str, file: Path) -> None:
        """Copy a file from the URL."""
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(temporary_name())
        with self._reaching():
            self.files.get_file(f"{self.root}/{name}", str(partial))
        os.replace(partial, file)

    def send(self, file: Path, name: str) -> None:
        """Copy a file to the URL."""
        with self._reaching():
            self.files.put_file(str(file), f"{self.root}/{name}")

    def read(self, name: str) -> bytes | None:
        """Return a small file's content; None if there is none."""
        with self._reaching():
            try:
                content: bytes = self.files.cat_file(f"{self.root}/{name}")
            except FileNotFoundError:
                return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with self._reaching():
            self.files.pipe_file(f"{self.root}/{name}", content)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._reaching(), suppress(FileNotFoundError):
            self.files.rm_file(f"{self.root}/{name}")

    @contextmanager
    def _reaching(self, *lasting: type[Exception]) -> Iterator[None]:
        try:
            yield
        except AwayError:
            raise
        except Exception as error:  # each file system has its own kinds
            kind: type[AwayError] = GoneError if isinstance(error, FileNotFoundError) else DownError
            if isinstance(error, (*LASTING, *lasting)) or "Credentials" in type(error).__name__:
                kind = AwayError
            reason = f"{type(error).__name__}: {one_line(error, 200)}"
            where = f"{self.url} cannot be read or written on {socket.gethostname()}"
            raise kind(f"{where} ({reason}); see 'Output at a URL' in docs/sweep.md") from error
