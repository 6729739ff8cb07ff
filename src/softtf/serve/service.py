"""A service: the learner that answers now, the requests under way, and the next version of the learner."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastapi import HTTPException, Request

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.saying import note, say
from softtf.serve.batching import Batcher, Job
from softtf.serve.deadline import deadline_of
from softtf.serve.limits import Limits
from softtf.serve.metrics import Metrics
from softtf.serve.reading import line, load_inputs, read_body, refused
from softtf.serve.version import Answer, Version, identity_of, load_version

READERS = min(4, os.cpu_count() or 1)  # threads that decode images and texts


class Service:
    """Answers requests with the learner in a folder; takes up its next version while it goes on answering.

    Args:
        folder: of a run, or of a learner that was saved.
        open_model: loads the classifier from it.
        limits: what is accepted.

    Raises:
        UserError: the learner cannot be loaded.
    """

    def __init__(self, folder: Path, open_model: Callable[[Path], ContinualClassifier], limits: Limits) -> None:
        self.folder, self.open_model, self.limits = folder, open_model, limits
        self.waiting = 0
        self.refused: tuple[str, str] | None = None  # identity of the last version that could not be loaded, and why
        self.metrics = Metrics(lambda: self.waiting)
        self.version = load_version(folder, open_model)
        self.metrics.tasks.set(self.version.model.num_tasks)
        self._readers = ThreadPoolExecutor(READERS, "softtf-reads")

    def start(self) -> None:
        """Begin to answer, in the event loop that runs."""
        self.batcher = Batcher(self.limits, self.metrics.batch)
        self._reloading = asyncio.Lock()
        self._answering = asyncio.create_task(self.batcher.run())

    async def stop(self) -> None:
        """Stop to answer, once all requests are answered."""
        self._answering.cancel()
        await asyncio.wait([self._answering])
        self._readers.shutdown(wait=False)

    @property
    def works(self) -> bool:
        """Whether it answers."""
        return not self._answering.done()

    @property
    def full(self) -> bool:
        """Whether it accepts no further request for now."""
        return self.waiting >= self.limits.queue

    async def predict(self, request: Request, task: int | None, top: int) -> tuple[Version, list[Answer]]:
        """Return the answers for the inputs of a request, and the version of the learner that gave them.

        Args:
            request: its body is not read yet.
            task: of all its inputs, from 0; None infers it.
            top: how many likeliest labels each answer has.

        Raises:
            HTTPException: they cannot be answered; the status says why.
        """
        if self.full:
            raise HTTPException(429, "too many requests wait; try again in a second", {"Retry-After": "1"})
        self.waiting += 1
        reading = True
        try:
            async with asyncio.timeout_at(deadline_of(request.scope, self.limits.timeout)):
                body = await read_body(request, self.limits)
                reading = False
                return await self._answered(body, task, top)
        except TimeoutError:
            if reading:
                raise HTTPException(408, f"the body did not arrive in {self.limits.timeout:g} s") from None
            raise HTTPException(504, f"there was no answer in {self.limits.timeout:g} s; try again later") from None
        finally:
            self.waiting -= 1

    async def _answered(self, body: bytes | list[bytes], task: int | None, top: int) -> tuple[Version, list[Answer]]:
        version = self.version
        if task is not None and not 0 <= task < version.model.num_tasks:
            raise HTTPException(422, f"there is no task {task + 1}; tasks 1 to {version.model.num_tasks} were learned")
        loop = asyncio.get_running_loop()
        dropped = threading.Event()
        try:
            inputs = await loop.run_in_executor(self._readers, load_inputs, body, version, self.limits, dropped.is_set)
        finally:
            dropped.set()  # what is cancelled is the wait; the thread sees this at its next input
        try:
            return version, await self.batcher.answer(Job(version, inputs, task, top))
        except UserError as error:
            raise refused(error) from None

    async def reload(self) -> None:
        """Take up the version that the folder holds now, if it is another one.

        The old version answers meanwhile, and what was sent to it before.

        Raises:
            UserError: it cannot be loaded; the old version stays.
        """
        async with self._reloading:
            identity = ""
            try:
                identity = await asyncio.to_thread(identity_of, self.folder)
                if identity == self.version.identity:
                    return
                version = await asyncio.to_thread(load_version, self.folder, self.open_model)
            except Exception as error:  # whatever a folder of somebody else's raises, the old version goes on
                self.refused = (identity, line(error))
                self.metrics.reloads.labels("refused").inc()
                note(f"the next version cannot be loaded, {self.version.name} goes on: {line(error)}")
                raise UserError(f"{line(error)}; version {self.version.name} goes on answering") from None
            self.version, self.refused = version, None
            self.metrics.reloads.labels("taken up").inc()
            self.metrics.tasks.set(version.model.num_tasks)
            say(f"softtf: version {version.name} of {version.model.num_tasks} tasks answers now")

    async def watch(self, seconds: float) -> None:
        """Take up each version that the folder is switched to, until this is cancelled; one that fails is told once."""
        while True:
            await asyncio.sleep(seconds)
            try:
                identity = await asyncio.to_thread(identity_of, self.folder)
            except (UserError, OSError):
                identity = ""
            if identity not in (self.version.identity, self.refused[0] if self.refused else None):
                try:
                    await self.reload()
                except UserError:
                    continue  # it was told
