"""Prediction of texts of many lengths: those of like length together, as softtf runs them, and as they come (twin)."""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from benchmarks.results import Result, Row, Target
from benchmarks.setup import Setup, learner_with
from benchmarks.timing import in_turns, matrix_rate
from softtf.backbones import BackboneSpec, load_backbone
from softtf.backbones.load import MINILM
from softtf.inference.policy import Policy
from softtf.inference.predict import predict, test_loader
from softtf.learners import LinearHead
from softtf.streams import Examples
from softtf.streams.docstrings import docstrings

BATCH = 64


def measure(setup: Setup) -> Iterator[Result]:
    """Measure one forward pass over docstrings of the standard library, four for every image of the other groups."""
    backbone = load_backbone(BackboneSpec(MINILM), setup.device)
    learner = learner_with(backbone, 1, method=LinearHead())
    texts = docstrings()[0]
    rows = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))[: 4 * setup.test_images].tolist()
    examples = Examples([texts[i] for i in rows], [0] * len(rows), "docstrings")
    loader, unsorted = (test_loader(examples, backbone, BATCH) for _ in range(2))
    lengths = loader.lengths()
    unsorted.lengths = lambda: torch.ones_like(lengths)  # all alike, so that they stay in their order
    calls: dict[str, Callable[[], object]] = {
        "ours": partial(predict, learner, loader, Policy("none")),
        "as they come": partial(predict, learner, unsorted, Policy("none")),
    }
    times = in_turns(calls, setup.device, setup.seconds, setup.rounds)
    floor = forward(lengths, backbone.dim, backbone.depth) / matrix_rate(torch.float32, setup.device)
    tokens = f"{len(rows)} docstrings of {int(lengths.min())} to {int(lengths.max())} tokens, {lengths.sum()} in all"
    yield Row(f"one forward, {MINILM}, float32, {tokens}", times["ours"], times["as they come"], floor)
    yield Target("texts: tokens computed for each that is there, by length", padded(lengths.sort().values))
    yield Target("texts: tokens computed for each that is there, as they come", padded(lengths))


def forward(lengths: torch.Tensor, dim: int, depth: int) -> int:
    """Return the multiply-adds of one forward pass over texts of these lengths, none on padding."""
    n = lengths.long()
    return int(depth * (12 * n * dim**2 + 2 * n**2 * dim).sum())


def padded(lengths: torch.Tensor) -> float:
    """Return the tokens of batches in this order, padding counted, by the tokens there are."""
    return sum(len(part) * int(part.max()) for part in lengths.split(BATCH)) / int(lengths.sum())
