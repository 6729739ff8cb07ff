"""What grows with the rows of a task, 115,000 of each data set in Table 2: time or memory at n, 2 n and 4 n rows.

The floor of each, by shapes alone: nearness to K centroids of T tasks the unit features and the answer, 4 n (D + T)
bytes; sums on a projection to M dimensions the sums, 8 M (M + C) bytes for C classes; tasks of a stream and a replay
nothing that a count of multiply-adds could name; an answer of MBPA++ no copy at all. The twins are the ways that were
here before.
"""

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.results import Result, Row, Target
from benchmarks.setup import Setup
from benchmarks.timing import in_turns, peak_bytes
from softtf.memory import OnDevice, concatenate, separate
from softtf.statistics import TaskCentroids
from softtf.statistics.exact_ridge import ExactRidge
from softtf.streams import Examples, TaskStream, split_by_task

WIDTH, CENTROIDS, TASKS, DRAWN, TOKENS, PROJECTED, CLASSES = 384, 10, 50, 24, 64, 64, 5
Call = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One piece of work on n rows: ours, the twin, the floor in the row's unit, and how much it may grow from n to 4 n.

    Times are taken of what is in `s`, peaks of memory of what is in `B`.
    """

    name: str
    ours: Call
    twin: Call
    floor: float | None = None
    unit: str = "s"
    grows: float = field(default=6.0, kw_only=True)  # four times, and as much again as caches and neighbours may add


def measure(setup: Setup) -> Iterator[Result]:
    """Measure every case at n, 2 n and 4 n rows: n is ten for every test image of the other groups."""
    found: dict[str, list[float]] = {}
    gc.collect()
    gc.freeze()  # or each collection walks all that was imported, which has nothing to do with n
    for count in (n * 10 * setup.test_images for n in (1, 2, 4)):
        for case in cases(count, setup):
            ours, twin = measured(case, setup)
            found.setdefault(case.name, []).append(ours)
            yield Row(f"{case.name}, n = {count:,} rows", ours, twin, case.floor, case.unit)
    gc.unfreeze()
    grows = {case.name: case.grows for case in cases(10, setup)}
    for name, values in found.items():
        yield Target(f"rows: {name}, 4 n by n", values[-1] / values[0] if values[0] else 1.0, at_most=grows[name])


def measured(case: Case, setup: Setup) -> tuple[float, float]:
    """Return seconds or bytes of ours and the twin."""
    if case.unit == "B":
        return peak_bytes(case.ours, setup.device), peak_bytes(case.twin, setup.device)
    times = in_turns({"ours": case.ours, "twin": case.twin}, setup.device, setup.seconds / 5, 2 * setup.rounds)
    return times["ours"], times["twin"]


def cases(count: int, setup: Setup) -> Iterator[Case]:
    """Yield the pieces of work on so many rows."""
    points = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(0))
    tasks = torch.arange(TASKS * CENTROIDS) // CENTROIDS
    known = {"centroids": torch.randn(len(tasks), WIDTH), "tasks": tasks}
    few = points[: max(1, count // 10)]
    yield Case(
        f"memory of nearness to {TASKS} tasks of {CENTROIDS} centroids, a row in ten (twin: one cube)",
        lambda: TaskCentroids(WIDTH, CENTROIDS, 0).nearness(known, few),
        lambda: (F.normalize(few)[:, None] - known["centroids"]).square().sum(2),
        4.0 * len(few) * (WIDTH + TASKS),
        "B",
    )
    ridge, many = ExactRidge(1, WIDTH, PROJECTED, 0), points.repeat(10, 1)
    classes = torch.arange(len(many)) % CLASSES
    yield Case(
        f"memory of the sums of 10 n rows on a projection to {PROJECTED} (twin: all projected at once)",
        lambda: ridge.share([], many, classes, torch.arange(CLASSES), lambda rows: rows),
        lambda: summed_at_once(ridge(many).double().round_(), classes),
        8.0 * PROJECTED * (PROJECTED + CLASSES),
        "B",
        grows=1.5,
    )
    examples = Examples(range(count), [0] * count, tasks=[i % TASKS for i in range(count)])
    yield Case(
        f"a stream of {TASKS} tasks by a column (twin: a look at every row for each)",
        lambda: split_by_task(examples, None),
        lambda: task_by_task(examples),
    )
    memory = concatenate("episodes", [torch.zeros(TOKENS, dtype=torch.int32)] * count)
    rows = torch.arange(min(DRAWN, count))
    yield Case(
        f"a replay of {DRAWN} from n memories (twin: all unpacked)",
        lambda: separate("episodes", memory, rows),
        lambda: separate("episodes", memory),
    )
    here, keys, like = OnDevice(), {"keys": points}, torch.zeros(1, dtype=torch.float64, device=setup.device)
    here.get("keys", keys, like)
    yield Case(
        "memory copied for MBPA++'s second answer (twin: for every one)",
        lambda: here.get("keys", keys, like),
        lambda: keys["keys"].to(like),
        0.0,
        "B",
    )


def summed_at_once(h: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum h h^T and sum h y^T of all rows h [n, M]."""
    return h.T @ h, h.T @ F.one_hot(classes).double()


def task_by_task(examples: Examples) -> TaskStream | list[Examples]:
    """Return the examples of each task, all rows looked at for each."""
    assert examples.tasks is not None
    values = sorted(set(examples.tasks))  # type: ignore[type-var]
    return [examples.select([i for i, task in enumerate(examples.tasks) if task == value]) for value in values]
