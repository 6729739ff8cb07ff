"""What data are known by when they are read again."""

import os
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest

from softtf.errors import UserError
from softtf.streams import Examples, difference, examples_from
from softtf.streams.identity import SAMPLED, _sample, identity
from support.limits import linux, with_little_memory


def files(folder: Path, number: int = 100) -> Examples:
    folder.mkdir(exist_ok=True)
    for i in range(number):
        (folder / f"{i:03d}.png").write_bytes(bytes([i, 1, 2]))
    return Examples(sorted(folder.iterdir()), [i % 3 for i in range(number)], "files")


def test_data_that_moved_are_the_same_and_a_working_directory_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = identity(files(tmp_path / "a"))
    os.rename(tmp_path / "a", tmp_path / "b")
    assert (
        difference(before, identity(Examples(sorted((tmp_path / "b").iterdir()), [i % 3 for i in range(100)]))) is None
    )
    texts = Examples(["name", "other"], [0, 1])
    before = identity(texts)
    (tmp_path / "name").write_text("a text that is also a file's name")
    monkeypatch.chdir(tmp_path)
    assert difference(before, identity(texts)) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.select(range(99)), "99 examples, not 100"),
        (lambda f: f.with_labels([(i + 1) % 3 for i in range(100)]), "other labels"),
        (lambda f: f.with_labels([str(i % 3) for i in range(100)]), "other labels"),
        (lambda f: (f[41].write_bytes(b"longer than it was"), f)[1], "other file names or sizes"),
        (lambda f: (f[0].write_bytes(b"new"), f)[1], "other contents"),
        (lambda f: (f[99].write_bytes(b"new"), f)[1], "other contents"),
        (lambda f: ([path.write_bytes(b"new") for path in list(f)[::2]], f)[1], "other contents"),
    ],
)
def test_what_differs_is_said(tmp_path: Path, change: Callable[[Examples], Examples], words: str) -> None:
    examples = files(tmp_path / "a")
    before = identity(examples)
    assert difference(before, identity(change(examples))) == words


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    examples = files(tmp_path / "a")
    (tmp_path / "a" / "041.png").unlink()
    with pytest.raises(UserError, match=r"files\[41\].*041\.png"):
        identity(examples)


def test_only_a_sample_is_read_of_many_arrays_and_texts() -> None:
    reads = []

    class Rows(list):
        def __getitem__(self, index: int) -> object:
            reads.append(index)
            return super().__getitem__(index)

    for row in (np.zeros((2, 2), np.uint8), "a text"):
        reads.clear()
        identity(Examples(Rows([row] * 10_000), [0] * 10_000))
        assert len(reads) <= SAMPLED + 3 and {0, 9_999} <= set(reads)


def test_one_text_of_another_length_is_noticed_and_older_identities_stay_valid() -> None:
    texts = [f"text {i}" for i in range(1000)]
    unread = next(i for i in range(1000) if i not in _sample(1000))
    other = [text + "!" * (i == unread) for i, text in enumerate(texts)]

    def forms(texts: list[str]) -> list[Examples]:
        labels = [i % 3 for i in range(1000)]
        whole = datasets.Dataset.from_dict({"text": texts, "label": labels})
        turned = whole.select(range(999, -1, -1)).select(range(999, -1, -1))
        mine = Examples(texts, labels)
        both = Examples.concatenate([mine.select(range(500)), mine.select(range(500, 1000))])
        return [mine, both, examples_from(whole), examples_from(turned)]

    for before, same, now in zip(forms(texts), forms(texts), forms(other), strict=True):
        old = identity(before)
        assert difference(old, identity(same)) is None
        assert difference(old, identity(now)) == "inputs of other lengths"
        assert old["sizes"] == identity(Examples(texts, before.labels))["sizes"]
        assert difference({key: value for key, value in old.items() if key != "sizes"}, identity(now)) is None


@linux
def test_what_is_too_large_for_an_image_is_refused_before_it_is_read(tmp_path: Path) -> None:
    examples = files(tmp_path / "a", 3)
    os.truncate(examples[0], 2**33)  # of zeros that take no disk
    code, line = with_little_memory(2**28, lambda: identity(examples))
    assert code == 2 and "000.png' cannot be read (it has 8,589,934,592 bytes; at most 536,870,912 are read)" in line
