"""A user's private folder, which nobody else reads, and secret key, with which the user's files are signed."""

import os
import re
import secrets
from pathlib import Path

from softtf.errors import UserError, reason_of
from softtf.files.reading import read_bytes
from softtf.files.tensors import write_atomic

FOLDER, FILE = 0o700, 0o600
"""Modes: only the owner may read and write."""
KEPT = re.compile(r"[0-9a-f]{64}\.safetensors|.*\.part|\..*\.tmp")
KEY, HOME_KEY = "SOFTTF_CACHE_KEY", "~/.cache/softtf/key"
LARGEST = 1024  # bytes that are read of what may be a key


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can read, or make one private that holds nothing but cached features.

    A folder that holds anything else keeps its mode; the feature files in it are private all the same.

    Raises:
        UserError: the folder belongs to another user, or cannot be made.
    """
    try:
        folder.mkdir(FOLDER, parents=True, exist_ok=True)
        about, names = folder.stat(), os.listdir(folder)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise UserError(f"could not write into {str(folder)!r}: {reason_of(error)}") from None
    if os.name == "nt":  # nobody else writes into a user's folders there
        return
    if about.st_uid != os.geteuid():
        raise UserError(f"{folder} belongs to another user, who could change its files; give a folder of your own")
    if about.st_mode & 0o077 and all(map(KEPT.fullmatch, names)):
        folder.chmod(FOLDER)


def user_key() -> bytes:
    """Return the user's key: 32 random bytes in the file $SOFTTF_CACHE_KEY or ~/.cache/softtf/key, made once.

    Raises:
        UserError: the key cannot be read or made, or others may read it.
    """
    file = Path(os.environ.get(KEY) or os.path.expanduser(HOME_KEY))
    if not file.is_absolute():
        raise UserError(f"the key of cached features needs a full path, not {file}; set ${KEY} to one")
    if not file.exists():
        write_atomic(file, secrets.token_bytes(32), FILE)
    try:
        key, about = read_bytes(file, LARGEST), file.stat()
    except OSError as error:
        raise UserError(f"{file}, the key of cached features, cannot be read: {reason_of(error)}") from None
    if os.name != "nt" and (about.st_uid != os.geteuid() or about.st_mode & 0o077):
        raise UserError(f"{file}, the key of cached features, is readable by others; remove it, and a new one is made")
    if len(key) != 32:
        raise UserError(f"{file} is not a key of cached features; remove it, and a new one is made")
    return key
