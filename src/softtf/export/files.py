"""Write graphs, and check that what was written answers alike."""

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from softtf.backbones.base import Backbone
from softtf.backbones.random_inputs import random_inputs
from softtf.errors import UserError, first_line_of
from softtf.export.answer import ABOUT
from softtf.learners.base import Learner
from softtf.streams.views import ImageViews

Format = Literal["onnx", "torch"]
TRACED, CHECKED = 3, 5  # inputs at once
CLOSE = 1e-4  # the most that a probability may differ
LARGEST_WEIGHT = 2**31  # entries
COLOURS = re.compile("\x1b\\[[0-9;]*m")


def sample_inputs(backbone: Backbone, count: int) -> Tensor:
    """Return random prepared inputs [count, ...] of a backbone."""
    preparation = backbone.preparation
    found: Tensor = random_inputs(getattr(backbone, "inner", backbone))
    if not isinstance(preparation, ImageViews):
        return found[:count]
    views = len(preparation.views)
    return found[: count * views].view(count, views, *found.shape[1:])


def on_cpu(learner: Learner) -> Learner:
    """Return a learner on the CPU: itself, or a copy."""
    if next(learner.network.backbone.parameters()).device.type == "cpu":
        return learner
    return deepcopy(learner).to("cpu")


def require_close(found: Tensor, right: Tensor) -> float:
    """Return the largest difference of two probabilities.

    Raises:
        UserError: it is more than CLOSE, or not a number.
    """
    worst = float((found - right).abs().max())
    if not worst <= CLOSE:
        raise UserError(f"the exported files answer otherwise than the learner, by {worst:.1e}; they were removed")
    return worst


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Write what an export says of itself."""
    (folder / ABOUT).write_text(json.dumps(about, indent=2), encoding="utf-8")


def write_graph(
    path: Path, module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str], tokens_vary: bool
) -> None:
    """Trace a module and write its graph, for any number of inputs.

    Args:
        path: the file; its ending says which format.
        module: what to trace; its forward takes any number of tensors.
        inputs: by their names; the first axis is that of the samples.
        outputs: the names of the outputs.
        tokens_vary: whether the second axis of inputs, x and mask varies too: the tokens of texts.

    Raises:
        UserError: it cannot be written as a graph.
    """
    varying = ("inputs", "x", "mask")
    dynamic = tuple(
        {0: torch.export.Dim.DYNAMIC} | ({1: torch.export.Dim.DYNAMIC} if tokens_vary and name in varying else {})
        for name in inputs
    )
    with _quiet():
        try:
            program = torch.export.export(
                module.eval(), tuple(inputs.values()), dynamic_shapes=(dynamic,), strict=False
            )
            if path.suffix == ".pt2":
                torch.export.save(program, path)
            else:
                _write_onnx(path, program, list(inputs), list(outputs))
        except UserError:
            raise
        except Exception as failed:  # torch raises many kinds
            error: BaseException = failed
            while error.__cause__ is not None:
                error = error.__cause__
            reason = COLOURS.sub("", first_line_of(error))
            raise UserError(f"this method's answer cannot be written as a graph ({reason})") from None


def _write_onnx(path: Path, program: torch.export.ExportedProgram, inputs: list[str], outputs: list[str]) -> None:
    from onnx_ir.passes.common import DeduplicateInitializersPass
    from onnxscript import opset18 as op

    def stable_sort(x: Any, stable: bool = False, dim: int = -1, descending: bool = False) -> Any:
        """TopK of all: among equal values it keeps the order, as the standard of ONNX says."""
        count: Any = op.Constant(value_ints=[dim])
        count = op.Gather(op.Shape(x), count)
        return op.TopK(x, count, axis=dim, largest=int(descending), sorted=1)

    written = torch.onnx.export(
        program,
        (),
        dynamo=True,
        verbose=False,
        input_names=inputs,
        output_names=outputs,
        custom_translation_table={
            torch.ops.aten.sort.stable: stable_sort,
            torch.ops.aten.__rshift__.Tensor: lambda x, places: op.BitShift(x, places, direction="RIGHT"),
        },
    )
    assert written is not None
    # The exporter writes a weight once for each use: for each view of an image.
    DeduplicateInitializersPass(size_limit=LARGEST_WEIGHT)(written.model)
    written.save(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch and its ONNX exporter say of their own affairs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        # torch prints the part of a graph that it could write
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
