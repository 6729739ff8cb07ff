"""A recorded step, replayed for each whole batch, trains to the same parameters; not every step can be recorded."""

import gc
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from contracts.cases import LEARNERS
from softtf.errors import UserError
from softtf.learners import LearnerSpec
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from softtf.testing.fixed_step import Operations, replaying
from softtf.training import recorded
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.recorded import NOT_READ, RecordedSteps, RecordingBy, records_on
from support.tiny import SOFT_TF, task_data, tiny_backbone
from support.tiny_bert import text_task, tiny_bert

CONFIG = TrainConfig(2, 5, 0.7, "cosine", precision="float32")  # the last batch of an epoch is smaller
GPU = torch.device("cuda:1")


@pytest.fixture
def replays() -> Iterator[None]:
    """Let the CPU record steps."""
    Operations.replays = 0
    with replaying():
        yield


def trained(
    spec: LearnerSpec, device: torch.device | str = "cpu", texts: bool = False, **settings: Any
) -> dict[str, Tensor]:
    """Everything trained in two tasks, and the losses of their epochs."""
    found, classes = {}, ClassTable()
    learner = spec.new_learner((tiny_bert() if texts else tiny_backbone()).to(device), 0).to(device)
    for task in range(2):
        data = (text_task if texts else task_data)(task)
        training = begin_training(learner, classes, data, "", replace(CONFIG, **settings))
        while not training.finished:
            report = training.run_epoch()
            found |= {f"{task} {report.epoch} {name}": torch.tensor(value) for name, value in report.losses.items()}
        training.finish()
        found |= {f"{task} {name}": value.cpu() for name, value in learner.task_state_dict(task).items()}
    return found | {name: value.cpu() for name, value in learner.shared_state_dict().items()}


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("name", ["Soft-TF", "Soft-TF, PGP", "L2P", "LwF", "FT, own classes", "linear head"])
def test_replayed_steps_train_to_the_same_parameters(name: str, replays: None) -> None:
    spec = LEARNERS[name].spec
    replayed = trained(spec)
    assert Operations.replays > 3
    same(replayed, trained(spec, record=False))


@pytest.mark.slow
def test_each_shape_of_texts_is_recorded_when_it_is_met_again(replays: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[torch.Size] = []
    made = RecordedSteps._record

    def noted(self: RecordedSteps, backward: recorded.Backward, batch: Batch) -> None:
        shapes.append(batch.inputs.shape)
        made(self, backward, batch)

    monkeypatch.setattr(RecordedSteps, "_record", noted)
    spec, settings = LEARNERS["Soft-TF, Feature ID"].spec, {"texts": True, "epochs": 6, "batch_size": 2}
    replayed = trained(spec, **settings)
    assert len(set(shapes)) > 2 and Operations.replays > 10
    same(replayed, trained(spec, record=False, **settings))
    monkeypatch.setattr(recorded, "MOST", 1)
    shapes.clear()
    same(trained(spec, **settings), replayed)
    assert len(shapes) == 2  # one for each task


@pytest.mark.parametrize("spec", [SOFT_TF, *(LEARNERS[name].spec for name in ("DER++", "DualPrompt + LoRA, dropout"))])
def test_what_cannot_be_recorded_is_not(spec: LearnerSpec, replays: None) -> None:
    """There is no whole batch, or steps differ between batches."""
    trained(spec, batch_size=64 if spec is SOFT_TF else 5)
    assert not Operations.replays


def test_steps_are_recorded_on_a_gpu_alone() -> None:
    assert records_on(GPU) and not records_on(torch.device("cpu"))


def test_where_memory_is_short_training_goes_on_without() -> None:
    def short_of_memory(*_: object) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    warning = pytest.warns(UserWarning, match="not enough memory to record a step; training goes on without")
    with RecordingBy(short_of_memory), warning as told:
        same(trained(SOFT_TF), trained(SOFT_TF, record=False))
    assert len(told) == 2  # once a task


def test_a_training_that_is_stopped_is_freed_at_once(replays: None) -> None:
    learner, classes = SOFT_TF.new_learner(tiny_backbone(), 0), ClassTable()
    training = begin_training(learner, classes, task_data(0), "", CONFIG)

    def stop(step: int, steps: int) -> None:
        if Operations.replays:
            raise KeyboardInterrupt

    gc.disable()
    try:
        with pytest.raises(KeyboardInterrupt):
            while True:
                training.run_epoch(stop)
        alive = weakref.ref(training)
        del training
        assert alive() is None
    finally:
        gc.enable()


def test_a_recorded_step_keeps_the_weights_that_it_reads(replays: None) -> None:
    """Another classifier may move the backbone meanwhile, which then drops its copies of the weights."""
    found = []
    for moved in (False, True):
        backbone = tiny_backbone().float()
        backbone.compute_dtype = torch.float32
        learner = SOFT_TF.new_learner(backbone, 0)
        training = begin_training(learner, ClassTable(), task_data(0), "", replace(CONFIG, precision="bfloat16"))
        training.run_epoch()
        if moved:
            copies = [weakref.ref(weight) for weight, _ in backbone.copies()]
            backbone.to("cpu")
            assert copies and not backbone.copies() and all(copy() is not None for copy in copies)
        training.run_epoch()
        found.append(training.state())
    same(*found)


class Streams:
    """Stands for torch.cuda: notes in which stream of which device each step runs."""

    def __init__(self) -> None:
        self.device, self.stream, self.noted, self.closing = 0, "usual", list[Any](), False

    @contextmanager
    def having(self, name: str, value: Any) -> Iterator[None]:
        before = getattr(self, name)
        setattr(self, name, value)
        try:
            yield
        finally:
            setattr(self, name, before)

    def on(self, device: torch.device) -> AbstractContextManager[None]:
        return self.having("device", device.index)

    def inside(self, stream: "Streams.Stream") -> AbstractContextManager[None]:
        return self.having("stream", stream.name)

    @contextmanager
    def graph(self, graph: object, pool: Any, stream: "Streams.Stream", capture_error_mode: str) -> Iterator[None]:
        before, self.stream = self.stream, stream.name
        self.noted.append(("begun", pool))
        try:
            yield
        except RuntimeError:
            if self.closing:
                raise RuntimeError("operation failed due to a previous error")  # noqa: B904 - as torch does; the stream is left
            self.stream = before
            raise
        self.stream = before

    class Stream:
        def __init__(self, name: str = "beside") -> None:
            self.name = name

        def wait_stream(self, other: object) -> None:
            """Waiting is not looked at."""


def stand_in(monkeypatch: pytest.MonkeyPatch) -> Streams:
    cuda = Streams()
    parts = {"device": cuda.on, "stream": cuda.inside, "graph": cuda.graph, "Stream": Streams.Stream}
    parts |= {"CUDAGraph": object, "current_stream": lambda *_: Streams.Stream(cuda.stream)}
    for name, part in parts.items():
        monkeypatch.setattr(torch.cuda, name, part)
    return cuda


def test_a_step_is_recorded_in_a_stream_of_the_batchs_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = stand_in(monkeypatch)

    def step() -> dict[str, Tensor]:
        cuda.noted.append((cuda.device, cuda.stream))
        return {"loss": torch.ones((), requires_grad=True) * 2}

    _, losses = recorded._record(step, GPU, "pool")
    assert cuda.noted == [(1, "beside")] * recorded.WARM_UP + [("begun", "pool"), (1, "beside")]
    assert not losses["loss"].requires_grad and (cuda.device, cuda.stream) == (0, "usual")


@pytest.mark.parametrize("closing", [False, True])
def test_a_gpu_that_cannot_record_is_told_in_one_line(closing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is the usual one again, also where torch raises once more as it closes the graph."""
    cuda = stand_in(monkeypatch)
    cuda.closing = closing

    def step() -> dict[str, Tensor]:
        if cuda.noted[-1:] == [("begun", None)]:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")
        cuda.noted.append("run")
        return {}

    with pytest.raises(
        UserError, match=r"this GPU cannot record the step \(operation not permitted when .* --train.no-re"
    ):
        recorded._record(step, GPU, None)
    assert (cuda.device, cuda.stream) == (0, "usual")


def test_any_use_of_what_a_recorded_step_cannot_read_raises() -> None:
    uses: list[Callable[[], object]] = [
        *(
            lambda: NOT_READ + 1,
            lambda: 1 - NOT_READ,
            lambda: NOT_READ < 3,
            lambda: NOT_READ == 3,
            lambda: bool(NOT_READ),
        ),
        *(
            lambda: {NOT_READ},
            lambda: int(NOT_READ),
            lambda: range(NOT_READ),
            lambda: list(NOT_READ),
            lambda: str(NOT_READ),
        ),
        *(lambda: NOT_READ.shape, lambda: NOT_READ[0], lambda: 3 in NOT_READ, lambda: torch.ones(3)[NOT_READ]),
    ]
    for use in uses:
        with pytest.raises(UserError, match="let its learner's `step_is_fixed` return False"):
            use()


ON_A_GPU = ["Soft-TF", "Soft-TF, PGP", "L2P", "LwF", "FT, own classes", "EWC", "CODA-Prompt", "EASE", "TUNA"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("name", "texts"), [*((name, False) for name in ON_A_GPU), ("Soft-TF, Feature ID", True)])
def test_on_a_gpu_a_recorded_step_trains_to_the_same_parameters(name: str, texts: bool) -> None:
    spec, epochs = LEARNERS[name].spec, 6 if texts else 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that a step cannot be recorded
        replayed = trained(spec, "cuda", texts, epochs=epochs)
    same(replayed, trained(spec, "cuda", texts, epochs=epochs, record=False))
