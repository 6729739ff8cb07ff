"""What the 50th task costs: its training step against the first's, and memory at prediction for each further task."""

from collections.abc import Iterator

from benchmarks.inference import POLICIES, one_tasks_test, tasks_named, varied_pictures
from benchmarks.results import Result, Row, Target
from benchmarks.setup import Setup, add_task, learner_with
from benchmarks.timing import in_turns, peak_bytes
from benchmarks.training import begin
from softtf.devices.device import matmul_dtype
from softtf.learners import Learner


def measure(setup: Setup) -> Iterator[Result]:
    """Measure time, then memory."""
    yield from time_of_a_step(setup)
    yield from memory_at_prediction(setup)


def time_of_a_step(setup: Setup) -> Iterator[Result]:
    """Compare steps of the first task and of the last; the first stands in the twin's column."""
    backbone, batch, last = setup.load(), setup.batches[0], max(setup.tasks)
    calls = {n: begin(learner_with(backbone, n - 1), batch, setup.steps).run_epoch for n in (1, last)}
    times = in_turns({str(n): call for n, call in calls.items()}, setup.device, setup.seconds, max(3, setup.rounds))
    first, later = (times[str(n)] / setup.steps for n in (1, last))
    yield Row(f"training step of task {last} (twin: of task 1), {setup.title}, batch {batch}", later, first)
    yield Target(f"growth, {setup.title}: step of task {last} by step of task 1", later / first, at_most=1.05)


def memory_at_prediction(setup: Setup) -> Iterator[Result]:
    """Measure how the peak grows from the fewest tasks to the most; the floor is what a task's parameters take."""
    few, many = min(setup.tasks), max(setup.tasks)
    backbone = setup.load()
    dtype = matmul_dtype(setup.precisions[0], setup.device)
    learner = learner_with(backbone, few)
    data = one_tasks_test(learner, varied_pictures(min(setup.test_images, 8), backbone.preparation.size))
    peaks: dict[tuple[str, int], int] = {}
    held: dict[int, int] = {}
    for tasks in (few, many):
        while learner.num_tasks < tasks:
            add_task(learner)
        held[tasks] = bytes_held(learner)
        for name, policy in POLICIES.items():
            beyond = peak_bytes(lambda p=policy: tasks_named(learner, data, p, dtype), setup.device)
            peaks[name, tasks] = held[tasks] + beyond
    per_task = (held[many] - held[few]) / (many - few)
    for name in POLICIES:
        grown = (peaks[name, many] - peaks[name, few]) / (many - few)
        yield Row(f"memory at prediction for a further task, {name}, {setup.title}", grown, None, per_task, "B")
        yield Target(
            f"growth, {setup.title}: memory for a task, {name}, by what it holds", grown / per_task, at_most=1.1
        )


def bytes_held(learner: Learner) -> int:
    """Return the bytes of every parameter and buffer."""
    return sum(tensor.nbytes for tensor in [*learner.parameters(), *learner.buffers()])
