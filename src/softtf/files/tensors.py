"""Atomic writes, and tensors without pickle."""

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from softtf.errors import UserError, one_line, reason_of
from softtf.files.label_json import is_unicode
from softtf.files.lock import check_ours
from softtf.files.reading import open_regular
from softtf.files.temporary import temporary_name

LONGEST_HEADER = 2**22
"""The most bytes of a safetensors header: room for some thirty thousand tensors."""
LONGEST_REASON = 300  # characters of an error's text in a message


def write_atomic(path: Path, data: bytes | str, mode: int = 0o666) -> None:
    """Replace the file `path` by `data`; a crash or a full disk leaves either the old file or the new one.

    Missing parent folders are made. Text is written as UTF-8 with its line ends as they are. The content first goes to
    a file of a `temporary_name` in the same folder. If several processes write a file, the last one wins.

    Args:
        path: The file to write.
        data: Its whole content.
        mode: Who may read and write it, before the process's umask.

    Raises:
        UserError: The file could not be written; the old one is intact and no temporary file is left. Or the folder is
            locked, and this process has lost the lock (`check_ours`).
    """
    content = data.encode() if isinstance(data, str) else data
    temp = path.with_name(temporary_name())
    check_ours(path)
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        with open(temp, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        check_ours(path)
        os.replace(temp, path)
    except BaseException as error:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise UserError(f"could not write {path}: {reason_of(error)}; what was saved before is intact") from error
    _sync_folder(path)


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened on Windows
        return
    try:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems lack this call
            raise UserError(f"wrote {path}, but the disk did not confirm it: {reason_of(error)}") from error


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, mode: int = 0o666
) -> str:
    """Write tensors of any shape and device to one safetensors file, atomically; `mode` is as for `write_atomic`.

    Returns:
        The SHA-256 of the file, in hex.

    Raises:
        UserError: The file could not be written.
    """
    data = tensor_bytes(tensors, metadata)
    write_atomic(path, data, mode)
    return hashlib.sha256(data).hexdigest()


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the content of a safetensors file; the same tensors give the same bytes."""
    ready: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        place = plain.untyped_storage().data_ptr()
        # safetensors refuses tensors that share memory (tied weights, views); only those are copied.
        ready[name] = plain.clone() if place in taken else plain
        taken.add(place)
    data: bytes = safetensors.torch.save(ready, dict(metadata) if metadata else None)
    return data


def checksum(tensors: Mapping[str, Tensor], *words: str) -> str:
    """Return the SHA-256, in hex, of `words` and of the tensors' names, types, shapes and bytes."""
    digest = hashlib.sha256(repr(words).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name!r}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read a safetensors file into CPU tensors.

    Args:
        path: The file.
        sha256: The hex SHA-256 that the file must have; None skips the check.

    Raises:
        UserError: The file is missing, damaged, a pickle, or has another SHA-256.
    """
    with _opened(path) as file:  # one file throughout, even if another takes its place
        if sha256 is not None:
            _check_hash(path, file, sha256)
        _check_header(path)
        data = file.read()
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise _broken(path, error) from error
    return tensors


def map_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Map a safetensors file into CPU tensors, whose values are read from the file when first used.

    The file is read once, in small pieces, to check its hash. Its content must not change while the tensors live:
    `write_atomic` never changes a file in place, and a removed file stays on disk until the tensors are gone.

    Raises:
        UserError: As for `load_tensors`.
    """
    check_file(path, sha256)
    _check_header(path)
    try:
        with _tensors_in(path) as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise _broken(path, error) from error
    return tensors


def check_file(path: Path, sha256: str) -> None:
    """Read a file in small pieces and check its SHA-256.

    Raises:
        UserError: The file is missing, or has another SHA-256.
    """
    with _opened(path) as file:
        _check_hash(path, file, sha256)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file; raises UserError if that or the reading fails."""
    try:
        with open_regular(path) as file:
            yield file
    except OSError as error:
        raise UserError(f"could not read {path}: {reason_of(error)}") from error


def _check_hash(path: Path, file: BinaryIO, expected: str) -> None:
    """Read an open file in small pieces, check its SHA-256 and go back to its start."""
    start = file.read(3)
    file.seek(0)
    found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    if found == expected:
        return
    if _is_pickle(start):
        raise _pickle(path)
    raise UserError(f"{path} is not the file that was saved: SHA-256 is {found}, expected {expected}")


def load_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file; empty if it has none.

    Raises:
        UserError: The file is missing, damaged or a pickle.
    """
    _check_header(path)
    try:
        with _tensors_in(path) as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _broken(path, error) from error


def _check_header(path: Path) -> None:
    """Refuse a file with a header that is too long or does not fit the file, before its tensors are read.

    Raises:
        UserError: the header is wrong, or the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if LONGEST_HEADER < length <= os.fstat(file.fileno()).st_size:
                reason = f"its list of tensors has {length:,} bytes; at most {LONGEST_HEADER:,} are read"
                raise OSError(errno.EFBIG, reason)
        with _tensors_in(path):  # maps the file and checks its header
            pass
    except SafetensorError as error:
        raise _broken(path, error) from error
    except OSError as error:
        raise UserError(f"could not read {path}: {reason_of(error)}") from error


@contextmanager
def _tensors_in(path: Path) -> Iterator[Any]:
    """Open a safetensors file; the library takes no name that is not UTF-8, but such a file's descriptor has another.

    Raises:
        SafetensorError: the file is damaged.
        OSError: it cannot be read.
    """
    if is_unicode(str(path)):
        with safe_open(path, "pt") as file:
            yield file
        return
    with open_regular(path) as content, safe_open(f"/dev/fd/{content.fileno()}", "pt") as file:
        yield file


def _is_pickle(start: bytes) -> bool:
    # A safetensors header may begin with 0x80 too; it is a length, and its third byte is then 0.
    pickled = start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5") and start[2:3] != b"\0"
    return pickled or start.startswith(b"PK\x03")


def _pickle(path: Path) -> UserError:
    return UserError(f"{path} is a pickle; softtf never unpickles. Save it as safetensors instead")


def _broken(path: Path, error: Exception) -> UserError:
    try:
        with open_regular(path) as file:
            start, size = file.read(3), os.fstat(file.fileno()).st_size
    except OSError as gone:
        return UserError(f"could not read {path}: {reason_of(gone)}")
    if _is_pickle(start):
        return _pickle(path)
    reason = one_line(error, LONGEST_REASON)  # may quote the file's content
    return UserError(f"{path} is truncated or not a safetensors file ({size} bytes: {reason})")


def inside(folder: Path, name: str) -> Path:
    """Return the path of the file `name` in `folder`; the name may come from a file that somebody else wrote.

    Raises:
        UserError: The name is empty or absolute, has `..`, a backslash or a NUL, or is a link out of the folder.
    """
    windows = PureWindowsPath(name) if isinstance(name, str) else None
    if windows is None or windows.drive or windows.root or not PurePosixPath(name).parts:
        raise UserError(f"{name!r} is not the name of a file in {folder}")
    if ".." in windows.parts or "\\" in name or "\0" in name:
        raise UserError(f"{name!r} is not the name of a file in {folder}")
    path = folder / name
    try:
        root, target = folder.resolve(), path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise UserError(f"{name!r} in {folder} cannot be resolved: {error}") from error
    if not target.is_relative_to(root) or target == root:
        raise UserError(f"{name!r} leads out of {folder}, to {target}")
    return path
