"""A recorded step, replayed for each whole batch, trains to the same parameters; not every step can be recorded."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from contracts.cases import LEARNERS
from softtf.errors import OutOfMemoryError, UserError
from softtf.learners import LearnerSpec
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from softtf.learners.linear_head import LinearHeadLearner
from softtf.testing.fixed_step import check_fixed_step
from softtf.training import gradient, recorded
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.gradient import GradientTraining
from support.slow import each
from support.tiny import SOFT_TF, task_data, tiny_backbone, tiny_clip
from support.tiny_bert import text_task, tiny_bert

CONFIG = TrainConfig(2, 5, 0.7, "cosine", precision="float32")  # the last batch of an epoch is smaller
GPU = torch.device("cuda")
Step = Callable[[], Mapping[str, Tensor]]


class Graph:
    """Stands for a CUDA graph of a step: a replay writes into the memory that the recording wrote into."""

    replays = 0

    def __init__(self, step: Step, parameters: list[torch.nn.Parameter]) -> None:
        self.step, self.parameters = step, parameters
        self.losses = {name: value.detach().clone() for name, value in step().items()}
        self.gradients = [p.grad for p in parameters]

    def replay(self) -> None:
        Graph.replays += 1
        for name, value in self.step().items():
            self.losses[name].copy_(value.detach())
        for parameter, kept in zip(self.parameters, self.gradients, strict=True):
            if kept is not None:
                assert parameter.grad is not None and parameter.grad is not kept
                kept.copy_(parameter.grad)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU record steps."""
    trained: list[torch.nn.Parameter] = []
    made = recorded._RecordedStep.__init__

    def noted(self: object, backward: object, batch: object, parameters: list[torch.nn.Parameter]) -> None:
        trained[:] = parameters
        made(self, backward, batch, parameters)  # type: ignore[arg-type]

    def record(step: Step, device: torch.device) -> tuple[Graph, Mapping[str, Tensor]]:
        graph = Graph(step, list(trained))
        return graph, graph.losses

    Graph.replays = 0
    monkeypatch.setattr(recorded._RecordedStep, "__init__", noted)
    monkeypatch.setattr(recorded, "_record", record)
    monkeypatch.setattr(gradient, "records_on", lambda device: True)


def trained(
    spec: LearnerSpec, device: torch.device | str = "cpu", texts: bool = False, **settings: object
) -> dict[str, Tensor]:
    """Everything trained in two tasks, and the losses of their epochs."""
    found, classes = {}, ClassTable()
    learner = spec.new_learner((tiny_bert() if texts else tiny_backbone()).to(device), 0).to(device)
    for task in range(2):
        data = (text_task if texts else task_data)(task)
        training = begin_training(learner, classes, data, "", replace(CONFIG, **settings))  # type: ignore[arg-type]
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
def test_replayed_steps_train_to_the_same_parameters(name: str, graphs: None) -> None:
    spec = LEARNERS[name].spec
    replayed = trained(spec)
    assert Graph.replays > 3
    same(replayed, trained(spec, record=False))


@pytest.mark.slow
def test_each_shape_of_texts_is_recorded_when_it_is_met_again(graphs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    made = recorded._RecordedStep.__init__

    def noted(self: object, backward: object, batch: Batch, parameters: list[torch.nn.Parameter]) -> None:
        shapes.append(tuple(batch.inputs.shape))
        made(self, backward, batch, parameters)  # type: ignore[arg-type]

    monkeypatch.setattr(recorded._RecordedStep, "__init__", noted)
    spec, settings = LEARNERS["Soft-TF, Feature ID"].spec, {"texts": True, "epochs": 6, "batch_size": 2}
    replayed = trained(spec, **settings)  # type: ignore[arg-type]
    assert len(set(shapes)) > 2 and Graph.replays > 10
    same(replayed, trained(spec, record=False, **settings))  # type: ignore[arg-type]
    monkeypatch.setattr(recorded, "MOST", 1)
    shapes.clear()
    same(trained(spec, **settings), replayed)  # type: ignore[arg-type]
    assert len(shapes) == 2  # one for each task


def test_without_a_whole_batch_nothing_is_recorded(graphs: None) -> None:
    trained(SOFT_TF, batch_size=64)
    assert not Graph.replays


@pytest.mark.parametrize("name", ["SLM", "DER++", "DualPrompt + LoRA, dropout"])
def test_a_step_that_differs_between_batches_is_not_recorded(name: str, graphs: None) -> None:
    trained(LEARNERS[name].spec)
    assert not Graph.replays


def test_steps_are_recorded_on_the_gpu_of_one_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gradient.records_on(GPU) and not gradient.records_on(torch.device("cpu"))
    monkeypatch.setattr(gradient, "count", lambda: 2)
    assert not gradient.records_on(GPU)


def test_a_gpu_that_cannot_record_is_told_in_one_line(graphs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(step: Step, device: torch.device) -> None:
        raise RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(recorded, "_record", refused)
    with pytest.raises(
        UserError, match=r"train.record: this GPU cannot record the step \(CUDA .*--train.no-record"
    ) as caught:
        trained(SOFT_TF)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("closed_by_another", [False, True])
def test_too_little_memory_for_a_recording_is_told_as_such(
    closed_by_another: bool, graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_of_memory(step: Step, device: torch.device) -> None:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            if closed_by_another:
                raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(recorded, "_record", short_of_memory)
    with pytest.raises(OutOfMemoryError, match="not enough memory to learn the task with batch_size 5"):
        trained(SOFT_TF)


def opened(name: str, texts: bool = False) -> GradientTraining | None:
    """The second task of a method, open; None for one without steps that can be recorded."""
    backbone = tiny_clip() if "CLIP" in name else tiny_bert() if texts else tiny_backbone()
    learner, classes = LEARNERS[name].spec.new_learner(backbone, 0), ClassTable()
    for task in range(2):
        data = (text_task if texts else task_data)(task)
        training = begin_training(learner, classes, data, "", replace(CONFIG, epochs=1))
        if not isinstance(training, GradientTraining) or not learner.step_is_fixed:
            return None
        if task == 0:
            training.run_epoch()
            training.finish()
    return training


SOLVED = ("NCM", "RanPAC", "Fly-CL", "KLDA", "LayUP", "block ridge", "CLIP zero-shot")
OTHERS = ("IDBR", "DER++", "BiC", "MBPA++", "SLM", "MOS", "HiDe-Prompt", "NoRGa", "DualPrompt + LoRA, dropout")
"""Methods whose steps are drawn at random, read values of a batch, or read its rows."""


NAMES = [name for name, case in LEARNERS.items() if not case.texts]


@each("name", NAMES, ("Soft-TF", "CODA-Prompt"))
def test_a_fixed_step_reads_no_value_and_nothing_else_of_a_batch(name: str) -> None:
    check(name, opened(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Soft-TF", "L2P", "CODA-Prompt", "LwF", "Progressive Prompts", "IDBR"])
def test_a_fixed_step_reads_no_value_of_texts_either(name: str) -> None:
    check(name, opened(name, texts=True))


def check(name: str, training: GradientTraining | None) -> None:
    """A method has steps that can be recorded unless it is listed above, and they are fixed."""
    assert (training is None) == name.startswith(SOLVED + OTHERS)
    if training is None:
        return
    with training.learner.computing_in(torch.float64):
        batch = next(training._batches(training.queries.get() if training.queries else None))
        check_fixed_step(training.learner, batch)


class ReadsWhatItMayNot(LinearHeadLearner):
    """One whose step is not the same for every batch, in one of several ways."""

    reads: Callable[[Batch], object]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        type(self).reads(batch)
        return super().loss(batch)


@pytest.mark.parametrize(
    "reads",
    [
        lambda batch: batch.targets.tolist(),
        lambda batch: batch.inputs[batch.targets > 0],
        lambda batch: 1 / (1 + batch.step),
        lambda batch: len(batch.rows),
        lambda batch: batch.inputs.new_zeros(9)[batch.rows],
        lambda batch: batch.targets + torch.arange(len(batch.targets)).to(batch.targets),
    ],
)
def test_a_step_that_is_not_fixed_is_found(reads: Callable[[Batch], object], monkeypatch: pytest.MonkeyPatch) -> None:
    training = opened("linear head")
    assert training is not None
    training.learner.__class__ = ReadsWhatItMayNot
    monkeypatch.setattr(ReadsWhatItMayNot, "reads", staticmethod(reads), raising=False)
    with training.learner.computing_in(torch.float64):
        batch = next(training._batches(None))
        with pytest.raises(AssertionError, match="the same work for every batch, as step_is_fixed says"):
            check_fixed_step(training.learner, batch)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "name", ["Soft-TF", "Soft-TF, PGP", "L2P", "LwF", "FT, own classes", "EWC", "CODA-Prompt", "EASE"]
)
def test_on_a_gpu_a_recorded_step_trains_to_the_same_parameters(name: str) -> None:
    spec = LEARNERS[name].spec
    same(trained(spec, "cuda"), trained(spec, "cuda", record=False))
