"""How long the parts of an answer take, without making the device wait."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from softtf.devices.processes import mean


@dataclass
class Clock:
    """Seconds by part of the work.

    A GPU works behind this process, so events in its queue mark where a part begins and ends, and nothing waits for
    them until `read`.

    seconds: those that passed, of the parts that are read. kept: those that the cached results used here once took.
    """

    device: torch.device
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    kept: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _unread: list[tuple[str, Any, Any]] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the body to part `name`."""
        start = self._mark()
        yield
        self._unread.append((name, start, self._mark()))

    def read(self) -> None:
        """Add up the parts since the last call; where their results were copied from a GPU before, nothing waits."""
        on_gpu = self.device.type == "cuda"
        if on_gpu and self._unread:
            self._unread[-1][2].synchronize()
        for name, start, end in self._unread:
            self.seconds[name] += start.elapsed_time(end) / 1000 if on_gpu else end - start
        self._unread.clear()

    def average(self, inferences: Iterable[str]) -> None:
        """Take the mean over the processes of a run, which divide the work; inferences: those that have a part."""
        parts = sorted({"features", "query", "trunk", "answer", *inferences})
        for seconds in (self.seconds, self.kept):
            seconds |= zip(parts, mean(*(seconds[part] for part in parts)), strict=True)

    def _mark(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event
