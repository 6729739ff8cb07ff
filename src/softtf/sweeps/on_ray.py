"""Runs on a Ray cluster, each as one task of Ray Core with its resources.

All runs are handed over at once, and Ray holds those that have no place: the list is finite. Ray retries nothing, as
only `softtf.sweeps.queue` knows what a run left behind. Ray Tune is not used: there is nothing to schedule.
"""

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from softtf.devices.waiting import waiting
from softtf.errors import UserError, first_line_of
from softtf.saying import note
from softtf.sweeps.job import Job
from softtf.sweeps.processes import GRACE, WAIT, Order, log_file, print_into
from softtf.sweeps.queue import Attempt
from softtf.sweeps.storage import Storage
from softtf.sweeps.work import Outcome, fault_of

GIB = 2**30
STORE = 10**8
"""Bytes of Ray's store of objects in a cluster of this machine: an outcome has some hundred."""


class OnRay:
    """Does runs as tasks of a Ray cluster; what each prints is in a file beside its folder (at its URL).

    Args:
        address: of the cluster, or `auto`; None starts one on this machine, which ends with this process.
        prepare: is called in each task first; it can be pickled.
        cpus: of each run.
        gpus: of each run; None: one where the cluster has any, unless the run wants the CPU.
        memory: in GiB, of each run; None: Ray does not count it.

    Raises:
        UserError: the cluster is not reached, or one of this machine alone is too small.
    """

    places, apart, elsewhere = sys.maxsize, True, True
    patience = 8  # a file server frees the locks of a lost machine after minutes

    def __init__(
        self, address: str | None, prepare: Callable[[], object], cpus: int, gpus: float | None, memory: float | None
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers
        import ray

        self.ray, self.prepare, self.cpus, self.gpus = ray, prepare, cpus, gpus
        self.memory = None if memory is None else int(memory * GIB)
        own: dict[str, Any] = {} if address else {"include_dashboard": False, "object_store_memory": STORE}
        try:
            with _same_signals():
                ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **own)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            token = address and "RAY_AUTH_MODE" not in os.environ
            remedy = "; if its head asks for a token, set RAY_AUTH_MODE=token (docs/sweep.md)" if token else ""
            raise UserError(f"no Ray cluster at {address or 'this machine'}: {first_line_of(error)}{remedy}") from error
        ours = {"env_vars": waiting(os.environ)}  # `ray start` had another environment
        self.task = ray.remote(max_calls=1, max_retries=0, runtime_env=ours)(_obey)
        self.going: dict[Any, Path] = {}
        self._check_size(bool(address))

    @property
    def at_once(self) -> int:
        """How many runs the cluster has cores for."""
        return max(1, int(sum(machine.get("CPU", 0) // self.cpus for machine in self._machines())))

    def begin(self, attempt: Attempt) -> None:
        """Hand a run to Ray."""
        job = attempt.job
        options = {"num_cpus": self.cpus, "num_gpus": self._gpus(job), "memory": self._memory(attempt)}
        order = Order.of(attempt, self.prepare, self.cpus)
        self.going[self.task.options(name=str(job.path), **options).remote(order)] = job.path

    def ended(self) -> list[tuple[Path, Outcome]]:
        """Wait until a run ends, at most WAIT seconds."""
        ready, _ = self.ray.wait(list(self.going), num_returns=1, timeout=0)
        if not ready:
            time.sleep(WAIT)  # and not in Ray, which makes a KeyboardInterrupt of every signal
        return [(self.going.pop(task), self._outcome(task)) for task in ready]

    def ease(self, attempt: Attempt) -> str:
        """Return how much memory the run asks for next time."""
        return f" and asks for {(self._memory(attempt) or 0) / GIB:.1f} GiB"

    def stop(self) -> None:
        """Ask every run to stop, and leave the cluster."""
        for task in self.going:
            self.ray.cancel(task)
        with suppress(Exception):  # the cluster may be gone
            self.ray.wait(list(self.going), num_returns=len(self.going), timeout=GRACE) if self.going else None
        with _same_signals():
            self.ray.shutdown()

    def _outcome(self, task: Any) -> Outcome:
        errors = self.ray.exceptions
        try:
            found: Outcome = self.ray.get(task)
            return found
        except errors.OutOfMemoryError:
            return Outcome("memory", "Ray has ended its process, as its machine ran out of memory")
        except (errors.RayTaskError, errors.RuntimeEnvSetupError, errors.TaskUnschedulableError) as error:
            return fault_of(getattr(error, "cause", None) or error)
        except errors.RayError as error:  # its worker, its machine or Ray on it is gone
            return Outcome("killed", f"its process or machine is gone ({type(error).__name__})")

    def _memory(self, attempt: Attempt) -> int | None:
        """Return the bytes that a run asks for: after each shortage twice as many, up to a machine's memory."""
        if not attempt.shortages:
            return self.memory
        most = max(int(resources.get("memory", 0)) for resources in self._machines())
        return min((self.memory or most // 8) << attempt.shortages, most)

    def _gpus(self, job: Job) -> float:
        if self.gpus is not None:
            return self.gpus
        return float(job.config.device != "cpu" and any(resources.get("GPU") for resources in self._machines()))

    def _machines(self) -> list[dict[str, float]]:
        """Return the resources of each machine."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]] or [{}]

    def _check_size(self, may_grow: bool) -> None:
        """Say that no machine is large enough for a run, which would wait for ever; refuse it if none will come."""
        needs = {"CPU": self.cpus, "GPU": self.gpus or 0, "memory": self.memory or 0}
        machines = self._machines()
        if any(all(machine.get(name, 0) >= need for name, need in needs.items()) for machine in machines):
            return
        said = ", ".join(f"{need / GIB if name == 'memory' else need:g} {name}" for name, need in needs.items() if need)
        if not may_grow:
            self.stop()
            raise UserError(f"this machine does not have what a run asks for: {said.replace('memory', 'GiB')}")
        note(f"no machine of the cluster has {said.replace('memory', 'GiB')} now; the runs wait for one")


def _obey(order: Order) -> Outcome:
    """Do a run in a process of Ray's; one at a URL in a folder of this machine, which goes with the process."""
    if order.url is None:
        print_into(log_file(order.cwd / order.path))
        return order.obey()
    before, (beside, _, _) = Path.cwd(), order.url.rpartition("/")
    with tempfile.TemporaryDirectory(prefix="softtf-", ignore_cleanup_errors=True) as own:
        order = replace(order, cwd=Path(own))
        log = log_file(order.cwd / order.path)
        print_into(log)
        try:
            return order.obey()
        finally:
            os.chdir(before)
            with suppress(UserError):  # nothing else depends on the log
                storage = Storage(beside)
                storage.write(log.name, (storage.read(log.name) or b"") + log.read_bytes())


@contextmanager
def _same_signals() -> Iterator[None]:
    """Put back how SIGTERM is handled, which Ray changes."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
