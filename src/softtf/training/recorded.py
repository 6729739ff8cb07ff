"""Steps that a GPU records once and replays (CUDA graphs).

A small backbone's step is hundreds of short kernels, and the GPU would wait while Python starts each of them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from threading import Lock
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from softtf.backbones.base import Backbone
from softtf.devices.memory import is_shortage
from softtf.devices.within import Within
from softtf.errors import UserError, one_line
from softtf.learners.base import Batch, Learner
from softtf.saying import warn

Losses = Mapping[str, Tensor]
Recorder = Callable[[Callable[[], Losses], torch.device, Any], tuple[Any, Losses]]
"""Returns the graph of a step, which has `replay` and `pool`, and its losses; see `_record`."""
Backward = Callable[[Batch], Losses]
"""Sets the parameters' gradients, None before it, for a batch, and returns the losses."""
MOST = 8  # shapes of batches that are recorded: texts have many lengths
WARM_UP = 3  # steps before a recording, in which kernels are chosen, compiled and loaded
_recording = Lock()  # torch records one graph at a time
_recorder: ContextVar[Recorder | None] = ContextVar("what records steps in place of the GPU", default=None)


class RecordingBy(Within[Recorder | None]):
    """A context in which steps are recorded by a stand-in, on any device, in this thread only."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(_recorder, recorder)


def records_on(device: torch.device) -> bool:
    """Return whether steps are recorded on a device: on a GPU, and by a stand-in everywhere."""
    return device.type == "cuda" or _recorder.get() is not None


class NotRead:
    """Stands for what a recorded step cannot read, since each replay would read the same: any use of it raises."""

    def _refuse(self, *_: object) -> NoReturn:
        raise UserError("a loss reads the rows or the number of a step; let its learner's `step_is_fixed` return False")

    __getattr__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __hash__ = __str__ = __format__ = (
        _refuse
    )
    __len__ = __iter__ = __contains__ = __getitem__ = __index__ = __int__ = __float__ = __abs__ = __neg__ = _refuse
    __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = _refuse
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = _refuse


NOT_READ: Any = NotRead()


class RecordedSteps:
    """A step's losses and gradients, recorded for each shape of its inputs that is met a second time.

    A replay runs the same kernels on another batch. Losses and gradients lie where the recording had them, and the next
    step overwrites them. Where memory is short, steps run as they are.

    Args:
        learner: its steps are the same work for every batch of a shape (`Learner.step_is_fixed`).
        parameters: those that get gradients.
    """

    def __init__(self, learner: Learner, parameters: Sequence[nn.Parameter]) -> None:
        self._backbones = [part for part in learner.modules() if isinstance(part, Backbone)]
        self._parameters = parameters
        self._met = set[torch.Size]()
        self._steps = dict[torch.Size, _Step]()
        self._most = MOST

    def __call__(self, backward: Backward, batch: Batch) -> Losses:
        """Set the parameters' gradients for a batch on a GPU, and return its losses.

        Raises:
            UserError: the GPU cannot record this step.
        """
        shape = batch.inputs.shape
        if shape in self._met and shape not in self._steps and len(self._steps) < self._most:
            self._record(backward, batch)
        self._met.add(shape)
        return self._steps[shape](batch) if shape in self._steps else backward(batch)

    def _record(self, backward: Backward, batch: Batch) -> None:
        pool = next((step.graph.pool() for step in self._steps.values()), None)
        try:
            self._steps[batch.inputs.shape] = _Step(backward, batch, self._parameters, self._backbones, pool)
        except RuntimeError as error:
            if not is_shortage(error):
                raise
            self._most = len(self._steps)
        else:
            return
        warn("there is not enough memory to record a step; training goes on without, and is slower")


class _Step:
    def __init__(
        self,
        backward: Backward,
        batch: Batch,
        parameters: Sequence[nn.Parameter],
        backbones: Sequence[Backbone],
        pool: Any,
    ) -> None:
        query = None if batch.query is None else batch.query.clone()
        self._batch = Batch(batch.inputs.clone(), batch.targets.clone(), NOT_READ, query, NOT_READ)
        self._parameters = parameters
        record = _recorder.get() or _record
        self.graph, self._losses = record(lambda: backward(self._batch), batch.inputs.device, pool)
        self._gradients = [parameter.grad for parameter in parameters]
        self._read = [backbone.copies() for backbone in backbones]  # a backbone that is moved drops them

    def __call__(self, batch: Batch) -> Losses:
        for name in ("inputs", "targets", "query"):
            if (value := getattr(batch, name)) is not None:
                getattr(self._batch, name).copy_(value)
        self.graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._losses


def _record(step: Callable[[], Losses], device: torch.device, pool: Any) -> tuple[Any, Losses]:
    """Return the graph of a step's kernels, and its losses.

    pool: the memory of an earlier graph. Each graph's losses and gradients are used before another one runs.

    Raises:
        UserError: the GPU cannot record them; torch then has memory that it does not free.
    """
    with _recording, torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream(device)):
        first, beside = torch.cuda.current_stream(), torch.cuda.Stream()
        beside.wait_stream(first)
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                step()
        first.wait_stream(beside)
        graph: Any = torch.cuda.CUDAGraph()
        cause: Exception | None = None
        try:
            # Another thread may write a checkpoint meanwhile: what it asks of the GPU ends no recording.
            with torch.cuda.graph(graph, pool=pool, stream=beside, capture_error_mode="thread_local"):
                try:
                    losses = {name: value.detach() for name, value in step().items()}  # drops autograd's graph
                except Exception as error:
                    cause = error  # the graph may raise another one as it is closed
                    raise
        except Exception as error:
            why = one_line(cause or error, 200)
            raise UserError(f"train.record: this GPU cannot record the step ({why}); give --train.no-record") from error
    return graph, losses
