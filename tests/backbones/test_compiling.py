"""Compiled blocks compute what plain ones do, up to rounding, and all blocks of a backbone share what is compiled."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from softtf.backbones import compiling
from softtf.backbones.compiling import Compiling, compiled, is_compiling
from softtf.errors import UserError
from softtf.learners import DualPrompt
from softtf.learners.class_table import ClassTable
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from support.tiny import SOFT_TF, classifier, inputs, task_data, tiny_backbone, tiny_clip

CONFIG = TrainConfig(2, 5, 0.7, precision="float32")


def trained(compile: bool) -> tuple[dict[str, float], dict[str, Tensor]]:
    """The losses and the parameters of two tasks; the last batches are smaller, and the G-prompt is frozen at last."""
    learner, classes = (
        replace(SOFT_TF, g_layers=(1, 2), freeze_g_after_first=True).build(tiny_backbone(), 0),
        ClassTable(),
    )
    for task in range(2):
        training = begin_training(learner, classes, task_data(task), "", replace(CONFIG, epochs=1, compile=compile))
        while not training.finished:
            report = training.run_epoch()
        training.finish()
    return report.losses, {name: value.clone() for name, value in learner.task_state_dict(1).items()}


@pytest.mark.slow
def test_training_with_compiled_blocks_ends_where_it_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are captured and differentiated as for any compiler, and then run as they are."""
    import torch._dynamo

    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    compiled.cache_clear()
    torch._dynamo.utils.counters.clear()
    losses, values = trained(True)
    stats = torch._dynamo.utils.counters["stats"]
    assert 1 < stats["unique_graphs"] <= 20, stats  # four blocks, two tasks, two kinds of pass, two sizes of batch
    assert not torch._dynamo.utils.counters["graph_break"]
    compiled.cache_clear()
    expected, parameters = trained(False)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == stats["unique_graphs"]
    assert losses == pytest.approx(expected, rel=1e-3)
    for name, value in parameters.items():
        torch.testing.assert_close(
            values[name], value, rtol=0, atol=1e-2, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_blocks_are_compiled_in_the_context_alone_and_only_where_it_is_wanted() -> None:
    assert not is_compiling()
    with Compiling(True):
        assert is_compiling()
        with Compiling(False):
            assert not is_compiling()
        assert is_compiling()
    assert not is_compiling()


def test_the_function_that_is_compiled_is_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler: every output of the function of weights equals that of the plain block, bit for bit."""
    from softtf.backbones import timm_vit

    called: list[int] = []

    def plain(function):
        def run(*given):
            called.append(1)
            return function(*given)

        return run

    monkeypatch.setattr(timm_vit, "compiled", plain)
    network = classifier(SOFT_TF, 2).learner.network
    trunk = network.trunk(network.stem(inputs(3)), network.query(network.stem(inputs(3))))
    expected = network.top(trunk, 1)
    with Compiling(True):
        assert torch.equal(network.top(trunk, 1), expected)
        above = network.backbone.depth - network.first_task_block
        assert len(called) == above
        network.top(trunk, mixture=torch.full((3, 2), 0.5, dtype=trunk.x.dtype))
    masked = {site.block for site in network._task_weight_sites}
    assert len(called) == above + above - len(masked)  # a mixture of weights is no weight


def test_a_machine_without_a_compiler_is_told_in_one_line() -> None:
    class CannotCompileError(RuntimeError):
        __module__ = "torch._inductor.exc"

    with (
        pytest.raises(UserError, match="train.compile: torch cannot compile on this machine") as caught,
        Compiling(True),
    ):
        raise CannotCompileError("no C++\ncompiler")
    assert "\n" not in str(caught.value)
    with pytest.raises(CannotCompileError), Compiling(False):
        raise CannotCompileError
    with pytest.raises(ZeroDivisionError), Compiling(True):
        raise ZeroDivisionError
    assert compiling.is_compiling() is False


def test_a_backbone_whose_blocks_are_not_compiled_is_refused() -> None:
    from softtf.training.data import check_training

    spec = DualPrompt(e_layers=(3,))
    with pytest.raises(UserError, match="train.compile: backbone 'tiny CLIP' is not compiled"):
        check_training(replace(CONFIG, compile=True), spec, spec.build(tiny_clip(), 0))
    check_training(replace(CONFIG, compile=True), spec, spec.build(tiny_backbone(), 0))
