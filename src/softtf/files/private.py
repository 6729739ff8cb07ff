"""What is a user's alone: a folder that nobody else reads, and a key that tells what the user wrote from the rest."""

import os
import re
import secrets
from pathlib import Path

from softtf.errors import UserError
from softtf.files.tensors import write_atomic

FOLDER, FILE = 0o700, 0o600
"""Who may read and write them: the owner."""
KEPT = re.compile(r"[0-9a-f]{64}\.safetensors|.*\.part|\..*\.tmp")
KEY, HOME_KEY = "SOFTTF_CACHE_KEY", "~/.cache/softtf/key"


def make_private(folder: Path) -> None:
    """Make a folder for its owner alone, or close one that holds kept features and nothing else.

    A folder with other things in it stays as open as it is; the files in it are closed nevertheless.

    Raises:
        UserError: it is another user's, or cannot be made.
    """
    try:
        folder.mkdir(FOLDER, parents=True, exist_ok=True)
        about, names = folder.stat(), os.listdir(folder)
    except OSError as error:
        raise UserError(f"could not write into {folder}: {error.strerror or error}") from None
    if os.name == "nt":  # where nobody else writes into a user's own folders
        return
    if about.st_uid != os.geteuid():
        raise UserError(f"{folder} belongs to another user, who could change what is found in it")
    if about.st_mode & 0o077 and all(map(KEPT.fullmatch, names)):
        folder.chmod(FOLDER)


def user_key() -> bytes:
    """Return the user's key, 32 random bytes that are made once: the file $SOFTTF_CACHE_KEY or ~/.cache/softtf/key.

    Raises:
        UserError: it cannot be read or made, or others may read it.
    """
    file = Path(os.environ.get(KEY) or os.path.expanduser(HOME_KEY))
    if not file.is_absolute():
        raise UserError(f"there is no place for the key of kept features: {file} is no full path; set ${KEY} to one")
    if not file.exists():
        write_atomic(file, secrets.token_bytes(32), FILE)
    try:
        key, about = file.read_bytes(), file.stat()
    except OSError as error:
        raise UserError(f"{file}, the key of kept features, cannot be read: {error.strerror}") from None
    if os.name != "nt" and (about.st_uid != os.geteuid() or about.st_mode & 0o077):
        raise UserError(f"{file}, the key of kept features, is open to others; remove it, and a new one is made")
    if len(key) != 32:
        raise UserError(f"{file} is no key of kept features; remove it, and a new one is made")
    return key
