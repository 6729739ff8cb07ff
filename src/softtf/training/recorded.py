"""A step that a GPU records once and replays (a CUDA graph).

A small backbone's step is hundreds of short kernels, and the GPU would wait while Python starts each of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from softtf.devices.memory import is_shortage
from softtf.errors import UserError, one_line
from softtf.learners.base import Batch

Backward = Callable[[Batch], Mapping[str, Tensor]]
WARM_UP = 3  # steps before the recording, in which kernels are chosen, compiled and loaded


class Recorded:
    """The losses and gradients of a step, recorded for batches of one size.

    A replay runs the same kernels on another batch. Gradients and losses are in the same memory after each.

    Args:
        backward: sets the parameters' gradients, None before it, and returns the losses. It must be the same work for
            every batch of this size (`Learner.step_is_fixed`).
        batch: of the size to record; it is on a GPU.
        parameters: those that get gradients.

    Raises:
        UserError: the GPU cannot record this step.
    """

    def __init__(self, backward: Backward, batch: Batch, parameters: Sequence[nn.Parameter]) -> None:
        query = None if batch.query is None else batch.query.clone()
        self._batch = replace(batch, inputs=batch.inputs.clone(), targets=batch.targets.clone(), query=query)
        self._parameters = parameters
        try:
            self._graph, self._losses = _record(lambda: backward(self._batch), batch.inputs.device)
        except RuntimeError as error:
            if is_shortage(error):
                raise
            raise UserError(
                f"train.record: this GPU cannot record the step ({one_line(error, 200)});"
                " leave it out (--train.no-record)"
            ) from error
        self._gradients = [parameter.grad for parameter in parameters]

    def __call__(self, batch: Batch) -> Mapping[str, Tensor]:
        """Set the parameters' gradients for a batch and return its losses, which the next call overwrites."""
        for name in ("inputs", "targets", "query"):
            if (value := getattr(batch, name)) is not None:
                getattr(self._batch, name).copy_(value)
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._losses


def _record(
    step: Callable[[], Mapping[str, Tensor]], device: torch.device
) -> tuple[torch.cuda.CUDAGraph, Mapping[str, Tensor]]:
    first, beside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    beside.wait_stream(first)
    with torch.cuda.stream(beside):
        for _ in range(WARM_UP):
            step()
    first.wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads write checkpoints
        losses = {name: value.detach() for name, value in step().items()}  # drops autograd's graph
    return graph, losses
