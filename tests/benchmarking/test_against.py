"""softtf beside the published code: calls by line, in turns; a folder that is no checkout is refused."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest
from benchmarks import against, calls, ours
from benchmarks.calls import Spent
from benchmarks.results import Row, Target
from benchmarks.setup import CPU, setup_for

from softtf.backbones import BackboneSpec
from softtf.errors import UserError

Capture = pytest.CaptureFixture[str]


class Told:
    """A side that takes what it is told to, and notes its calls."""

    def __init__(self, name: str, noted: list[tuple[str, str]], spent: list[Spent]) -> None:
        self.name, self.noted, self.spends = name, noted, cycle(spent)

    def spent(self, call: str) -> Spent:
        self.noted.append((self.name, call))
        return next(self.spends)


def test_each_line_is_a_call_whose_own_output_is_dropped(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("train\ngradient-id 5\n"))
    made = []
    calls.answer_calls(lambda *words: print(made.append(words)))
    assert made == [("train",), ("gradient-id", 5)]
    ready, *lines = capsys.readouterr().out.splitlines()
    assert ready == "ready" and len(lines) == 2
    for line in lines:
        seconds, peak = line.split()
        assert float(seconds) >= 0 and int(peak) > 10**6


def test_the_least_of_the_rounds_counts_but_not_the_first() -> None:
    noted: list[tuple[str, str]] = []
    mine = Told("ours", noted, [Spent(s, 1) for s in (1.0, 4.0, 3.0)])
    its = Told("theirs", noted, [Spent(s, 2) for s in (1.0, 8.0, 9.0)])
    assert against.in_turns(mine, its, "train", 2) == (Spent(3.0, 1), Spent(8.0, 2))
    assert noted == [("ours", "train"), ("theirs", "train")] * 3
    long = Told("theirs", noted, [Spent(100.0, 2)])
    noted.clear()
    against.in_turns(mine, long, "train", 5)
    assert len(noted) == 4


def test_both_sides_make_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[tuple[str, str]] = []

    @contextmanager
    def started(module: str, *words: str) -> Iterator[Told]:
        yield Told(module, noted, [Spent(2.0, 100) if module == "ours" else Spent(6.0, 400)])

    monkeypatch.setattr(against, "started", started)
    found = list(against.measure(setup_for("vit-b", CPU["vit-b"].device, quick=False), tmp_path))
    rows = [result for result in found if isinstance(result, Row)]
    assert {row.cells[3] for row in rows} == {"3.00"} and len(rows) == len(against.TRAININGS) + 5
    targets = [result for result in found if isinstance(result, Target)]
    assert [t.value for t in targets if t.at_most is not None] == [0.25]
    assert {t.value for t in targets if t.at_most is None} == {3} and len(targets) == len(rows)
    assert sorted(t.at_least for t in targets if t.at_least) == [1.5, 3, 3, 4]
    assert ["G-prompt frozen" in t.name for t in targets if not t.met] == [True]
    called = {call for _, call in noted}
    assert called == {"train", "twin", "prompt-id 5", "prompt-id 20", "gradient-id 5", "gradient-id 20"}


def test_softtfs_side_trains_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    small = BackboneSpec("random:vit_tiny_patch16_224", image_size=32)
    monkeypatch.setitem(CPU, "vit-b", replace(CPU["vit-b"], backbone=small))
    side = ours.Ours(2, "float32", 0)
    side.call("train")
    side.call("twin")
    assert str(side.training().dtype) == "torch.float32"
    side.call("gradient-id", 2)
    assert side.learner(2).num_tasks == 2


def test_what_is_no_checkout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in against.FILES:
        with pytest.raises(UserError, match=f"there is no {name}"):
            against.check(tmp_path)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(against, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install einops"):
        against.check(tmp_path)


def test_a_side_that_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="the process of one side ended"), against.started("no_such_module"):
        pass
