"""A recorded step, replayed for each whole batch, trains to the same parameters; not every step can be recorded."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from contracts.cases import LEARNERS
from softtf.errors import UserError
from softtf.learners import LearnerSpec
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from softtf.training import gradient, recorded
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.gradient import GradientTraining
from support.tiny import SOFT_TF, task_data, tiny_backbone

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
    made = recorded.Recorded.__init__

    def noted(self: object, backward: object, batch: object, parameters: list[torch.nn.Parameter]) -> None:
        trained[:] = parameters
        made(self, backward, batch, parameters)  # type: ignore[arg-type]

    def record(step: Step, device: torch.device) -> tuple[Graph, Mapping[str, Tensor]]:
        graph = Graph(step, list(trained))
        return graph, graph.losses

    Graph.replays = 0
    monkeypatch.setattr(recorded.Recorded, "__init__", noted)
    monkeypatch.setattr(recorded, "_record", record)
    monkeypatch.setattr(gradient, "records_on", lambda device: True)


def trained(spec: LearnerSpec, device: torch.device | str = "cpu", **settings: object) -> dict[str, Tensor]:
    """Everything trained in two tasks, and the losses of their epochs."""
    found, classes = {}, ClassTable()
    learner = spec.new_learner(tiny_backbone().to(device), 0).to(device)
    for task in range(2):
        training = begin_training(learner, classes, task_data(task), "", replace(CONFIG, **settings))  # type: ignore[arg-type]
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
    assert Graph.replays > 4
    same(replayed, trained(spec, record=False))


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
    monkeypatch.setattr(recorded, "_record", lambda *_: (_ for _ in ()).throw(RuntimeError("CUDA out of memory")))
    with pytest.raises(Exception, match="not enough memory to learn the task"):
        trained(SOFT_TF)


class NothingBrought(TorchDispatchMode):
    """Refuses copies from the CPU to the device in the block: a step that is recorded cannot have them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.dim()]
        assert not (isinstance(found, Tensor) and found.is_meta and any(not x.is_meta for x in tensors)), func
        return found


IN_STEPS = [name for name, case in LEARNERS.items() if not case.texts]


@pytest.mark.parametrize("name", IN_STEPS)
def test_a_fixed_step_reads_no_value_and_nothing_else_of_a_batch(name: str) -> None:
    """Its loss and gradients run on tensors that have no values (torch's device "meta")."""
    spec, classes = LEARNERS[name].spec, ClassTable()
    try:
        learner = spec.new_learner(tiny_backbone(), 0)
    except UserError:
        pytest.skip("not for images alone")
    for task in range(2):
        training = begin_training(learner, classes, task_data(task), "", replace(CONFIG, epochs=1))
        if not isinstance(training, GradientTraining) or not learner.step_is_fixed:
            return
        if task == 0:
            training.run_epoch()
            training.finish()
    with learner.computing_in(torch.float64):
        batch = next(training._batches(training.queries.get() if training.queries else None))
        query = None if batch.query is None else batch.query.to("meta")
        learner.to("meta")
        for held in [held for held in vars(learner).values() if isinstance(held, dict)]:  # memory, Fisher information
            held |= {name: value.to("meta") for name, value in held.items() if isinstance(value, Tensor)}
        unread: object = SimpleNamespace()
        batch = Batch(batch.inputs.to("meta"), batch.targets.to("meta"), unread, query, unread)  # type: ignore[arg-type]
        with NothingBrought():
            losses = learner.loss(batch)
            torch.stack(list(losses.values())).sum().backward()
    assert any(parameter.grad is not None for parameter in learner.trained_parameters().values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "name", ["Soft-TF", "Soft-TF, PGP", "L2P", "LwF", "FT, own classes", "EWC", "CODA-Prompt", "EASE"]
)
def test_on_a_gpu_a_recorded_step_trains_to_the_same_parameters(name: str) -> None:
    spec = LEARNERS[name].spec
    same(trained(spec, "cuda"), trained(spec, "cuda", record=False))
