import os
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softtf.errors import UserError
from softtf.streams import lines as module
from softtf.streams import load_source
from softtf.streams.files import read_texts
from softtf.streams.lines import within_bounds


@given(st.text(st.sampled_from("ab é\u2028\x0c\r\n\0🙂\ufeff")))
def test_lines_are_those_of_the_whole_text(text: str) -> None:
    whole = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    expected = [line + "\n" for line in whole.split("\n")]
    expected[-1] = expected[-1][:-1]
    assert list(within_bounds(BytesIO(text.encode()), "here")) == [line for line in expected if line]


def test_a_long_line_is_refused_before_it_is_read(tmp_path: Path) -> None:
    firsts = {"a.csv": b"text,label\n", "a.tsv": b"text\tlabel\n", "a.jsonl": b'{"text": "a", "label": "b"}\n'}
    for name, first in firsts.items():
        with open(tmp_path / name, "wb") as file:
            file.write(first)
            file.truncate(2**30)  # sparse: one line of a GiB
        with pytest.raises(UserError, match=rf"{name}, line 2.* 16,777,216 bytes"):
            load_source(str(tmp_path / name))
    with open(tmp_path / "more.txt", "wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(UserError, match=r"more.txt cannot be read: it has 5,368,709,120 bytes; at most"):
        read_texts(tmp_path / "more.txt")


def test_lines_and_bytes_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    assert len(list(within_bounds(BytesIO(b"x\n" * 3), "here"))) == 3
    with pytest.raises(UserError, match="^here has more than 3 lines"):
        list(within_bounds(BytesIO(b"x\n" * 4), "here"))
    monkeypatch.setattr(module, "MOST", 2**24)
    monkeypatch.setattr(module, "ROWS", 9)
    with (
        open("/dev/zero", "rb") as endless,
        pytest.raises(UserError, match="line 1: it has more than 16,777,216"),
    ):
        list(within_bounds(endless, "standard input"))
    with pytest.raises(UserError, match="9 bytes; cut it in pieces"):
        list(within_bounds(BytesIO(b"x\n" * 9), "here"))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "cifar100", "data"])
def test_a_pipe_as_data_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="is a pipe or a device, not a file"):
        load_source(str(tmp_path / name))
    with pytest.raises(UserError, match=r"it is a pipe, not a file"):
        read_texts(tmp_path / name)


def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softtf.streams.files.LONGEST", 1000)
    (tmp_path / "a.csv").write_text('text,label\n"' + "word\n" * 1000)
    with pytest.raises(UserError, match="line 2.*: not valid CSV: field larger than field limit"):
        load_source(str(tmp_path / "a.csv"))
