"""The clock adds up the parts of the work, and waits for a GPU only when it is read."""

from typing import Any

import pytest
import torch

from softtf.inference import clock
from softtf.inference.clock import Clock


def test_the_seconds_of_a_part_add_up_once_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 10.0, 12.0, 20.0, 24.0])
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(times))
    found = Clock(torch.device("cpu"))
    for name in ("trunk", "answer", "trunk"):
        with found.part(name):
            pass
    for _ in range(2):  # nothing is counted twice
        found.read()
        assert found.seconds == {"trunk": 5.0, "answer": 2.0}


def test_beside_a_gpu_nothing_waits_until_the_seconds_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that stands for a GPU's: an event takes its time from the work that was queued before it."""
    queued, waits = [0.0], list[float]()

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: Any) -> None:
            assert stream == "stream of cuda:1"
            self.at = queued[0]

        def synchronize(self) -> None:
            waits.append(self.at)

        def elapsed_time(self, end: Any) -> float:
            assert waits and end.at <= waits[-1]  # later events are not over
            return 1000 * (end.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: pytest.fail("the whole device was waited for"))
    found = Clock(torch.device("cuda:1"))
    for name, work in (("trunk", 2.0), ("answer", 3.0), ("trunk", 4.0)):
        queued[0] += 100.0  # on no part
        with found.part(name):
            queued[0] += work
    assert waits == []
    found.read()
    assert waits == [309.0] and found.seconds == {"trunk": 6.0, "answer": 3.0}
    found.read()
    assert len(waits) == 1
