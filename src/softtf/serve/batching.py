"""Batches of requests: whoever comes within a few milliseconds is answered in one pass of the network.

A batch runs in a thread of its own while the next one gathers. So under load no request waits for the clock: the next
batch is full, or has waited long enough, when the one before it ends.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from softtf.serve.limits import Limits
from softtf.serve.version import Answer, Version
from softtf.streams.preparation import LoadedInput


@dataclass(eq=False)
class Job:
    """The inputs of one request, and the promise of their answers.

    Attributes:
        version: whose backbone loaded the inputs, and which answers them.
        inputs: at least one.
        task: of all inputs, from 0; None infers it.
        top: how many likeliest labels each answer has.
    """

    version: Version
    inputs: list[LoadedInput]
    task: int | None = None
    top: int = 1
    came: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    answered: "asyncio.Future[list[Answer]]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def goes_with(self, other: "Job") -> bool:
        """Return whether two jobs can be answered in one pass: their tasks may differ, but are all given or none."""
        return self.version is other.version and (self.task is None) == (other.task is None)


Outcome = list[Answer] | Exception


def answer_jobs(jobs: Sequence[Job], batch_size: int) -> list[Outcome]:
    """Return for each job its answers, or why there are none; jobs that go together share a pass.

    Where the pass fails, each job is tried alone: one input with values that are too large costs no other its answer.
    """
    first = jobs[0]
    inputs = [one for job in jobs for one in job.inputs]
    tasks = None if first.task is None else [job.task or 0 for job in jobs for _ in job.inputs]
    try:
        found = iter(first.version.answers(inputs, tasks, max(job.top for job in jobs), batch_size))
        return [[next(found).cut(job.top) for _ in job.inputs] for job in jobs]
    except Exception as error:
        if len(jobs) == 1:
            return [error]
        return [answer_jobs([job], batch_size)[0] for job in jobs]


class Batcher:
    """Gathers jobs into batches and answers them, one batch at a time.

    Args:
        limits: the size of a batch, and how long it waits.
        seen: told the inputs and the seconds of each batch.
    """

    def __init__(self, limits: Limits, seen: Callable[[int, float], None]) -> None:
        self.limits, self.seen = limits, seen
        self._jobs: list[Job] = []
        self._came = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "softtf-answers")

    async def answer(self, job: Job) -> list[Answer]:
        """Return the answers of a job; if the caller is cancelled first, the job is dropped.

        Raises:
            UserError: its inputs cannot be answered.
        """
        self._jobs.append(job)
        self._came.set()
        return await job.answered

    async def run(self) -> None:
        """Answer jobs until this is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                batch = await self._next()
                start = loop.time()
                outcomes = await loop.run_in_executor(self._thread, answer_jobs, batch, self.limits.batch_size)
                self.seen(sum(len(job.inputs) for job in batch), loop.time() - start)
                for job, outcome in zip(batch, outcomes, strict=True):
                    if job.answered.done():  # it came too late, and nobody waits any more
                        continue
                    if isinstance(outcome, Exception):
                        job.answered.set_exception(outcome)
                    else:
                        job.answered.set_result(outcome)
        finally:
            for job in self._jobs:
                job.answered.cancel()
            self._thread.shutdown(wait=False)

    async def _next(self) -> list[Job]:
        """Wait for the next batch: full, or as old as a batch may be; it has the oldest job."""
        while True:
            self._jobs = [job for job in self._jobs if not job.answered.done()]
            batch = self._batch()
            full = sum(len(job.inputs) for job in batch) >= self.limits.batch_size or len(batch) < len(self._jobs)
            wait = None
            if batch:
                wait = batch[0].came + self.limits.wait_ms / 1000 - asyncio.get_running_loop().time()
                if full or wait <= 0:
                    self._jobs = [job for job in self._jobs if job not in batch]
                    return batch
            self._came.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), wait)

    def _batch(self) -> list[Job]:
        """Return the oldest job and those behind it that go with it, as many as fit into a batch."""
        chosen: list[Job] = []
        room = self.limits.batch_size
        for job in self._jobs:
            if not chosen or (job.goes_with(chosen[0]) and len(job.inputs) <= room):
                chosen.append(job)
                room -= len(job.inputs)
        return chosen
