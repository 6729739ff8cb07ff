"""Files that are the old one or the new one, whole: atomic writes, tensors without pickle, labels as JSON."""

import base64
import binascii
import errno
import hashlib
import math
import os
from collections.abc import Hashable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from softtf.errors import UserError


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace `path` by `data` so that a crash or a full disk leaves either the old file or the new one.

    Missing parent folders are made. Text is written as UTF-8, with its line ends as they are. Until it is whole
    the content is in `.NAME.tmp` beside it, so only one process at a time may write a file.

    Args:
        path: The file to write.
        data: Its whole content.

    Raises:
        UserError: The file could not be written; the old one is intact and no temporary file is left.
    """
    content = data.encode() if isinstance(data, str) else data
    temp = path.with_name(f".{path.name}.tmp")
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        with open(temp, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temp, path)
    except BaseException as error:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        reason = error.strerror or error
        raise UserError(f"could not write {path}: {reason}; what was saved before is intact") from error
    _sync_folder(path)


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    try:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems have no such call
            raise UserError(f"wrote {path}, but the disk did not confirm it: {error.strerror}") from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Write tensors of any shape and device to one safetensors file, atomically.

    Returns:
        The SHA-256 of the file, in hex.

    Raises:
        UserError: The file could not be written.
    """
    ready: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        place = plain.untyped_storage().data_ptr()
        # safetensors refuses tensors that share memory (tied weights, views); what is large is not copied for nothing.
        ready[name] = plain.clone() if place in taken else plain
        taken.add(place)
    data: bytes = safetensors.torch.save(ready, dict(metadata) if metadata else None)
    write_atomic(path, data)
    return hashlib.sha256(data).hexdigest()


def load_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read a safetensors file into CPU tensors.

    Args:
        path: The file.
        sha256: The hex SHA-256 that the file must have; None skips the check.

    Raises:
        UserError: The file is missing, damaged, a pickle, or not the one that `sha256` names.
    """
    data = _read(path)
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise _broken(path, data, error) from error
    if sha256 is not None:
        _check_hash(path, hashlib.sha256(data).hexdigest(), sha256)
    return tensors


def map_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Map a safetensors file: CPU tensors whose memory is the file, read in when first used.

    The file is read once in small pieces to check its hash. It must stay as it is while the tensors live;
    `write_atomic` never changes a file in place.

    Raises:
        UserError: As for `load_tensors`.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise _broken(path, _read(path), error) from error
    _check_hash(path, found, sha256)
    return tensors


def _check_hash(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise UserError(f"{path} is not the file that was saved: SHA-256 is {found}, expected {expected}")


def load_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file; empty if it has none.

    Raises:
        UserError: The file is missing, damaged or a pickle.
    """
    data = _read(path)
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _broken(path, data, error) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror or error}") from error


def _broken(path: Path, data: bytes, error: Exception) -> UserError:
    # A safetensors header may begin with 0x80 too, but then its length follows: the third byte is 0.
    pickled = data[:1] == b"\x80" and data[1:2] in (b"\2", b"\3", b"\4", b"\5") and data[2:3] != b"\0"
    if pickled or data.startswith(b"PK\x03\x04"):
        return UserError(f"{path} is a pickle; softtf never unpickles. Save it as safetensors instead")
    reason = " ".join(str(error).split())
    return UserError(f"{path} is truncated or not a safetensors file ({len(data)} bytes: {reason})")


def inside(folder: Path, name: str) -> Path:
    """Return the path of the file `name` under `folder`, for names that come from a file somebody else wrote.

    Raises:
        UserError: The name is empty, absolute, has `..`, a backslash or a NUL, or a link leads out.
    """
    windows = PureWindowsPath(name) if isinstance(name, str) else None
    if windows is None or windows.drive or windows.root or not PurePosixPath(name).parts:
        raise UserError(f"{name!r} is not the name of a file in {folder}")
    if ".." in windows.parts or "\\" in name or "\0" in name:
        raise UserError(f"{name!r} is not the name of a file in {folder}")
    path = folder / name
    try:
        root, target = folder.resolve(), path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise UserError(f"{name!r} in {folder} cannot be resolved: {error}") from error
    if not target.is_relative_to(root) or target == root:
        raise UserError(f"{name!r} leads out of {folder}, to {target}")
    return path


def require(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor], where: str) -> None:
    """Check that `tensors` holds exactly the keys and shapes of `like`, real numbers where it has them, and no NaN.

    Args:
        tensors: What was read.
        like: A tensor of the shape and kind expected for each key; whole numbers must have its very type.
        where: What the message names as the source, such as the file.

    Raises:
        UserError: The first key that is missing, extra, of another shape or kind or with NaN in it.
    """
    for key in sorted(like.keys() - tensors.keys()):
        found = ", ".join(sorted(tensors)) or "nothing"
        raise UserError(f"{where}: {key!r} is missing; expected shape {list(like[key].shape)}, found {found}")
    for key in sorted(tensors.keys() - like.keys()):
        wanted = ", ".join(sorted(like)) or "nothing"
        raise UserError(f"{where}: {key!r} is not expected here; expected {wanted}")
    for key, expected in like.items():
        tensor = tensors[key]
        if tensor.shape != expected.shape:
            raise UserError(f"{where}: {key!r} has shape {list(tensor.shape)}, expected {list(expected.shape)}")
        if tensor.dtype != expected.dtype and not (tensor.is_floating_point() and expected.is_floating_point()):
            raise UserError(f"{where}: {key!r} has type {tensor.dtype}, expected {expected.dtype}")
        if tensor.is_floating_point() and tensor.isnan().any():
            raise UserError(f"{where}: {key!r} has {int(tensor.isnan().sum())} NaN of {tensor.numel()}, expected none")


def encode_label(label: Hashable) -> Any:
    """Turn a label into JSON that `decode_label` turns back, type and all: 1, True, 1.0 and "1" differ.

    Tuples become lists and bytes become {"bytes": base64}; numpy scalars become the Python value they hold.

    Raises:
        UserError: The label is not a str, int, bool, finite float, None, bytes or a tuple of these.
    """
    if isinstance(label, np.generic):
        value = label.item()
        if not isinstance(value, np.generic):  # a long double gives itself
            return encode_label(value)
    # Exact types: a subclass (an enum, a named tuple) would come back as another type.
    if label is None or type(label) in (bool, int) or (type(label) is float and math.isfinite(label)):
        return label
    if type(label) is str and _is_unicode(label):
        return label
    if type(label) is bytes:
        return {"bytes": base64.b64encode(label).decode()}
    if type(label) is tuple:
        return [encode_label(part) for part in label]
    kind, why = type(label).__name__, ""
    if type(label) is str:
        why = ", which is no Unicode text (so it is with names that are not UTF-8)"
    elif plain := next((base for base in (str, int, float, bytes, tuple) if base in type(label).__mro__[1:]), None):
        why = f", a class of its own that a file would give back as {plain.__name__}"
    raise UserError(f"cannot save the label {label!r} of type {kind}{why}; use strings or integers")


def _is_unicode(text: str) -> bool:
    # JSON would join two lone surrogates to one character, and no file could hold one in UTF-8.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def decode_label(value: Any) -> Hashable:
    """Turn what `encode_label` made back into the label.

    Raises:
        UserError: The value is none that `encode_label` makes.
    """
    if isinstance(value, list):
        return tuple(decode_label(part) for part in value)
    if isinstance(value, dict) and value.keys() == {"bytes"} and isinstance(value["bytes"], str):
        with suppress(binascii.Error, ValueError):
            return base64.b64decode(value["bytes"], validate=True)
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise UserError(f"{value!r} is not a saved label; expected a string, number, true, false, null or list")
