"""Steps that a GPU records once and replays (CUDA graphs).

A small backbone's step is hundreds of short kernels, and the GPU would wait while Python starts each of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from softtf.devices.memory import is_shortage
from softtf.errors import UserError, one_line
from softtf.learners.base import Batch


class NotReadWhereStepsAreRecorded:
    """Stands for what a recorded step cannot read, as it would read the same again: any use of it raises."""


NOT_READ: Any = NotReadWhereStepsAreRecorded()
Backward = Callable[[Batch], Mapping[str, Tensor]]
MOST = 8  # shapes of batches that are recorded: texts have many lengths
WARM_UP = 3  # steps before a recording, in which kernels are chosen, compiled and loaded


class RecordedSteps:
    """A step's losses and gradients, recorded for each shape of its inputs that is met a second time.

    A replay runs the same kernels on another batch. Losses and gradients lie where the recording had them, and the next
    step overwrites them.

    Args:
        backward: sets the parameters' gradients, None before it, and returns the losses. It must be the same work for
            every batch of a shape (`Learner.step_is_fixed`).
        parameters: those that get gradients.
    """

    def __init__(self, backward: Backward, parameters: Sequence[nn.Parameter]) -> None:
        self._backward, self._parameters = backward, parameters
        self._met = set[torch.Size]()
        self._steps = dict[torch.Size, _RecordedStep]()

    def __call__(self, batch: Batch) -> Mapping[str, Tensor]:
        """Set the parameters' gradients for a batch on a GPU, and return its losses.

        Raises:
            UserError: the GPU cannot record this step.
        """
        shape = batch.inputs.shape
        if shape in self._met and len(self._steps) < MOST and shape not in self._steps:
            self._steps[shape] = _RecordedStep(self._backward, batch, self._parameters)
        self._met.add(shape)
        return self._steps[shape](batch) if shape in self._steps else self._backward(batch)


class _RecordedStep:
    def __init__(self, backward: Backward, batch: Batch, parameters: Sequence[nn.Parameter]) -> None:
        query = None if batch.query is None else batch.query.clone()
        self._batch = Batch(batch.inputs.clone(), batch.targets.clone(), NOT_READ, query, NOT_READ)
        self._parameters = parameters
        try:
            self._graph, self._losses = _record(lambda: backward(self._batch), batch.inputs.device)
        except RuntimeError as error:
            shortage = error.__context__ or error  # a recording that stops raises once more as it is closed
            if isinstance(shortage, Exception) and is_shortage(shortage):
                raise shortage from None
            raise UserError(
                f"train.record: this GPU cannot record the step ({one_line(error, 200)});"
                " leave it out (--train.no-record)"
            ) from error
        self._gradients = [parameter.grad for parameter in parameters]

    def __call__(self, batch: Batch) -> Mapping[str, Tensor]:
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
