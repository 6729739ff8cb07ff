"""What a service tells Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The numbers of one service, in a registry of their own.

    Args:
        waiting: returns how many requests are not answered yet.
    """

    def __init__(self, waiting: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "softtf_requests", "Requests that were answered.", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "softtf_request_seconds",
            "Seconds from a request to its answer.",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batch_inputs = Histogram(
            "softtf_batch_inputs", "Inputs of a batch.", buckets=SIZES, registry=self.registry
        )
        self.batch_seconds = Histogram(
            "softtf_batch_seconds", "Seconds that a batch ran.", buckets=SECONDS, registry=self.registry
        )
        self.reloads = Counter("softtf_reloads", "Versions of the learner.", ["outcome"], registry=self.registry)
        self.tasks = Gauge("softtf_tasks", "Tasks of the learner.", registry=self.registry)
        waits = Gauge("softtf_waiting_requests", "Requests that are not answered yet.", registry=self.registry)
        waits.set_function(waiting)

    def batch(self, inputs: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_inputs.observe(inputs)
        self.batch_seconds.observe(seconds)
