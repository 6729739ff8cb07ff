"""Densities of the masks m, and of W * m against the frozen W, by task and module (the paper's Figures 3, 9, 10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from softtf.adaptations.base import Site
from softtf.adaptations.binary_mask import BinaryMasks
from softtf.adaptations.quantise import Quantised
from softtf.adaptations.soft_mask import SoftMasks
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.figures.numbers import Numbers
from softtf.figures.results import RunResults, about, check_kind
from softtf.figures.style import TWO_COLUMNS, check_series, look, new_figure, say_below
from softtf.runs.classifier import open_classifier

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = NDArray[np.float64]
BINS = 61
MASK, MASKED, FROZEN = "m", "W*m", "W"
MASKS = ("soft-mask", "soft-net", "binary-mask")


@dataclass(frozen=True)
class Bin:
    """One bin of one histogram.

    layer: from 1. module: the masked weight, such as qkv. quantity: m, W*m or W. task: from 1; None for W, which all
    tasks share. std: of all values of the histogram. left, right: the bounds of the bin. density: the share of the
    values in the bin, divided by its width.
    """

    layer: int
    module: str
    quantity: str
    task: int | None
    std: float
    left: float
    right: float
    density: float


def numbers(
    runs: Sequence[RunResults], tasks: Sequence[int] = (), layer: int | None = None, backbone: str | None = None
) -> Numbers[Bin]:
    """Return histograms of every masked module of one layer.

    Args:
        runs: one run with masks.
        tasks: the tasks, from 1; if empty, the first, the middle and the last.
        layer: the layer, from 1; None is the last one with masks.
        backbone: the path of the backbone, if the run names it by a path.

    Raises:
        UserError: there is not exactly one run, it has no masks (or none on this layer), or a task is missing.
    """
    if len(runs) != 1:
        raise UserError(f"densities draws one run, not {len(runs)}; name one")
    (run,) = runs
    check_kind(run, MASKS, "a run with Soft-TF, WSN or SoftNet")
    check_series(len(tasks), "tasks")
    model = open_classifier(run.path, device="cpu", backbone=backbone, memory_limit=0)
    (masks,) = (a for a in model.learner.network.adaptations if isinstance(a, SoftMasks | BinaryMasks))
    wanted = _tasks(tasks, model.num_tasks)
    sites = _sites(masks, layer, run)
    rows = [row for site in sites for row in _histograms(model, masks, site, wanted)]
    return Numbers(rows, about(runs) + f" Layer {sites[0].block + 1}.")


def _tasks(wanted: Sequence[int], count: int) -> list[int]:
    for task in wanted:
        if not 1 <= task <= count:
            raise UserError(f"--tasks: there is no task {task}; tasks 1 to {count} were learned")
    return list(dict.fromkeys(wanted or (1, (count + 1) // 2, count)))


def _sites(masks: SoftMasks | BinaryMasks, layer: int | None, run: RunResults) -> list[Site]:
    blocks = sorted({site.block for site in masks.shapes})
    block = blocks[-1] if layer is None else layer - 1
    if block not in blocks:
        raise UserError(
            f"--layer: {run.path} has masks on layers {', '.join(str(b + 1) for b in blocks)}, not on {layer}"
        )
    return [site for site in masks.shapes if site.block == block]


def _histograms(
    model: ContinualClassifier, masks: SoftMasks | BinaryMasks, site: Site, tasks: Sequence[int]
) -> list[Bin]:
    """Return the histograms of a site; those in one panel have the same bins."""
    frozen: Values = model.learner.network.backbone.linear(*site).weight.detach().double().numpy()
    factors = {task: mask_values(masks, site, task - 1) for task in tasks}
    masked: dict[tuple[str, int | None], Values] = {(MASKED, t): frozen * factor for t, factor in factors.items()}
    panels: list[dict[tuple[str, int | None], Values]] = [
        {(MASK, task): factor for task, factor in factors.items()},
        {(FROZEN, None): frozen, **masked},
    ]
    rows = []
    for panel in panels:
        edges = np.histogram_bin_edges(np.concatenate([v.ravel() for v in panel.values()]), BINS)
        for (quantity, task), values in panel.items():
            density = np.histogram(values, edges, density=True)[0]
            at = site.block + 1, site.weight, quantity, task, float(values.std())
            bins = zip(edges[:-1].tolist(), edges[1:].tolist(), density.tolist(), strict=True)
            rows += [Bin(*at, *one) for one in bins]
    return rows


def mask_values(masks: SoftMasks | BinaryMasks, site: Site, task: int) -> Values:
    """Return m_t [out, in] of a site, task from 0, in float64."""
    mask = masks.mask(site, task)
    values = mask.dequantised() if isinstance(mask, Quantised) else mask
    found: Values = values.detach().double().numpy()
    return found


def draw(found: Numbers[Bin]) -> "Figure":
    """Return a figure with two panels per module, both in logarithmic density: the masks; masked and frozen weights."""
    modules = list(dict.fromkeys(b.module for b in found.rows))
    tasks = list(dict.fromkeys(b.task for b in found.rows if b.task is not None))
    figure, axes = new_figure(TWO_COLUMNS, 1.7 * len(modules) + 0.9, len(modules), 2)
    for (left, right), module in zip(axes, modules, strict=True):
        mine = [b for b in found.rows if b.module == module]
        _steps(right, [b for b in mine if b.quantity == FROZEN], None, "W, frozen")
        for number, task in enumerate(tasks):
            _steps(left, [b for b in mine if (b.quantity, b.task) == (MASK, task)], number, f"task {task}")
            _steps(right, [b for b in mine if (b.quantity, b.task) == (MASKED, task)], number, f"W⊙m, task {task}")
        left.set_title(f"{module}: masks m")
        right.set_title(f"{module}: W⊙m and the frozen W")
        left.set_ylabel("density")
        for axis in (left, right):
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
            axis.set_ylim(top=axis.get_ylim()[1] * 10 ** (0.6 * (len(tasks) + 1)))  # room for the legend
            axis.legend(loc="upper right", handlelength=2.5)
    say_below(figure, found.caption + " Densities on a logarithmic scale; σ: standard deviation.")
    return figure


def _steps(axis: Any, bins: Sequence[Bin], number: int | None, label: str) -> None:
    """Draw a histogram as a step line; without a number, draw it filled."""
    edges = [*(b.left for b in bins), bins[-1].right]
    label = f"{label}, σ={bins[0].std:.4f}"
    if number is None:
        axis.stairs([b.density for b in bins], edges, fill=True, color="#D8D8D8", label=label)
        return
    line = look(number)
    axis.stairs([b.density for b in bins], edges, color=line["color"], linestyle=line["linestyle"], label=label)
