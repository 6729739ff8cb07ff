"""The user's key: 32 bytes in a file of the user's own, and nothing else is read for long."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from softtf.errors import UserError
from softtf.files.private import KEY, make_private, user_key


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


def sparse(path: Path) -> None:
    path.touch(0o600)
    os.truncate(path, 2**33)


def test_a_key_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, str(tmp_path / "new" / "key"))
    assert len(user_key()) == 32 and user_key() == user_key()


@pytest.mark.skipif(os.name == "nt", reason="the kinds of files are Unix's")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "it is a pipe, not a file"),
        (listen, "cannot be read"),
        (os.mkdir, "cannot be read: Is a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"),
        (sparse, "it has 8,589,934,592 bytes; at most 1,024 are read"),
        (lambda path: path.touch(0o600), "is not a key of cached features"),
    ],
)
def test_what_is_no_key_is_refused_at_once(
    make: Callable[[Path], None], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "key")
    monkeypatch.setenv(KEY, str(tmp_path / "key"))
    with pytest.raises(UserError, match=words):
        user_key()


def test_a_folder_with_a_null_character_is_refused() -> None:
    with pytest.raises(UserError, match="could not write into"):
        make_private(Path("a\0b"))
