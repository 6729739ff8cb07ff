import os
import socket
from pathlib import Path

import pytest

from softtf.files import reading
from softtf.files.reading import open_regular, read_bytes, read_text


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_a_file_is_read_whole_up_to_the_bound(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(content := os.urandom(size))
    assert read_bytes(file) == read_bytes(file, size) == content
    with open_regular(file, size) as opened:
        assert opened.read() == content
    if size:
        with pytest.raises(OSError, match=f"it has {size:,} bytes; at most {size - 1:,} are read"):
            read_bytes(file, size - 1)


def test_text_has_the_lines_of_every_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("é\r\nb\rc\n".encode())
    assert read_text(tmp_path / "file") == (tmp_path / "file").read_text("utf-8") == "é\nb\nc\n"


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path, reason in [
            (tmp_path / "pipe", "it is a pipe, not a file"),
            (tmp_path / "socket", "No such device"),
            (tmp_path, "Is a directory"),
            (Path("/dev/zero"), "it is a device, not a file"),
            (tmp_path / "gone", "No such file"),
        ]:
            with pytest.raises(OSError, match=reason):
                read_bytes(path)


def test_a_file_that_does_not_tell_its_size_is_read_no_further_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = Path("/proc/self/pagemap")  # it says 0 bytes, and has terabytes
    if not endless.exists():
        pytest.skip("Linux alone has such files")
    monkeypatch.setattr(reading, "STEP", 4096)
    with pytest.raises(OSError, match="it has more than 100,000 bytes"):
        read_bytes(endless, 100_000)
    assert read_bytes(Path("/proc/self/status")).startswith(b"Name:")


def test_without_a_bound_a_file_may_be_as_large_as_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2**28 < reading.memory() < 2**50
    (tmp_path / "file").write_bytes(b"12345")
    monkeypatch.setattr(reading, "memory", lambda: 4)
    with pytest.raises(OSError, match="at most 4 are read"):
        read_bytes(tmp_path / "file")
