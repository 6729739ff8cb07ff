"""Attention maps of chosen images, by several learners side by side (the paper's Figure 6).

A map shows how much attention the tokens that the pooling reads (the [class] token, or L2P's prompts) pay to each
patch, in one block of the network of the task that the learner infers. It is the mean over heads and over these tokens.
The rest of their attention, to [class] and to prompts, is not shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.figures.numbers import Numbers
from softtf.figures.results import RunResults, about, labels_of
from softtf.figures.style import new_figure, say_below
from softtf.inference.attention_map import attending, attention_map, first_view
from softtf.inference.predict import Answers
from softtf.runs.classifier import open_classifier

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_RUNS, MOST_IMAGES = 3, 12
SIZE = 1.6
"""The side of a picture, in inches."""


@dataclass(frozen=True)
class Patch:
    """The attention to one patch of one image.

    learner: its name in the picture. task: the task that it inferred, from 1. layer: from 1. row, column: the patch's
    place, from 0. attention: a share of all attention, including that to [class] and prompts.
    """

    image: str
    learner: str
    task: int
    label: str
    layer: int
    row: int
    column: int
    attention: float


@dataclass(frozen=True)
class Maps(Numbers[Patch]):
    """Attention maps, and the images [size, size, 3] under them, as the backbone sees them, by name."""

    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


def numbers(
    runs: Sequence[RunResults],
    images: Sequence[str | Path] = (),
    layer: int | None = None,
    backbone: str | None = None,
) -> Maps:
    """Return the maps of every image by every run.

    Args:
        runs: up to three.
        images: files, up to twelve.
        layer: the layer whose attention is shown, from 1; None is the last one.
        backbone: the path of the backbone, if the runs name it by a path.

    Raises:
        UserError: there are no images or runs, or too many; a run is of texts; an image cannot be read; the backbones
            see images of different sizes; or there is no such layer.
    """
    if not 1 <= len(runs) <= MOST_RUNS:
        raise UserError(f"attention draws one to {MOST_RUNS} runs side by side, not {len(runs)}")
    if not images:
        raise UserError("attention needs images: --images FILE ...")
    rows: list[Patch] = []
    pictures: dict[str, NDArray[np.uint8]] = {}
    caption = []
    for label, run in zip(labels_of(runs), runs, strict=True):
        model = open_classifier(run.path, device="cpu", backbone=backbone, memory_limit=0)
        check_images(model, len(images))
        files = [str(image) for image in images]
        found = maps_of(model, [(Path(file).name, file) for file in files], model.answer(files), label, layer)
        sizes = {picture.shape[0] for picture in (*found.pictures.values(), *pictures.values())}
        if len(sizes) > 1:
            raise UserError(
                f"the backbones see images of {' and '.join(map(str, sorted(sizes)))} pixels; name runs of one"
            )
        rows += found.rows
        pictures |= found.pictures
        caption.append(model.inference.title())
    return Maps(rows, f"{about(runs, '; '.join(dict.fromkeys(caption)))} {about_maps(rows)}", pictures)


def check_images(model: ContinualClassifier, count: int) -> None:
    """Refuse a classifier of texts, and more images than a figure can show.

    Raises:
        UserError: the classifier is one of texts, or there are too many images.
    """
    backbone = model.learner.network.backbone
    if backbone.reads_text:
        raise UserError(f"attention maps are of images, and backbone {backbone.name!r} reads texts")
    if count > MOST_IMAGES:
        raise UserError(f"attention maps are drawn of at most {MOST_IMAGES} images, not {count}; name fewer")


def maps_of(
    model: ContinualClassifier,
    images: Sequence[tuple[str, Any]],
    answers: Answers,
    learner: str,
    layer: int | None = None,
) -> Maps:
    """Return the maps of images by one classifier, in the network of the task that it inferred.

    Args:
        model: a classifier of images (`check_images`).
        images: the name of each image, and the image as `predict` takes it.
        answers: the classifier's answers for them.
        learner: its name in the picture.
        layer: the layer whose attention is shown, from 1; None is the last one.

    Raises:
        UserError: an image cannot be read, or there is no such layer.
    """
    network = attending(model.learner.network)
    backbone = network.backbone
    block = backbone.depth - 1 if layer is None else layer - 1
    if not 0 <= block < backbone.depth:
        raise UserError(
            f"--layer: there is no layer {layer}; backbone {backbone.name!r} has layers 1 to {backbone.depth}"
        )
    rows: list[Patch] = []
    pictures: dict[str, NDArray[np.uint8]] = {}
    names = _apart([name for name, _ in images])
    for name, (_, image), (label, _, task) in zip(names, images, model.named(answers), strict=True):
        loaded = backbone.preparation.load_test(image, name)
        inputs = first_view(backbone.preparation.batch([loaded], model.device))
        with torch.no_grad(), model.learner.computing_in(model.dtype):
            attention = attention_map(network, inputs, task, block)[0]
        pictures[name] = loaded.permute(1, 2, 0).contiguous().numpy()
        at = name, learner, task + 1, str(label), block + 1
        rows += [Patch(*at, i, j, value) for i, line in enumerate(attention.tolist()) for j, value in enumerate(line)]
    return Maps(rows, about_maps(rows), pictures)


def _apart(names: Sequence[str]) -> list[str]:
    """Return different names: repeated ones get a number."""
    return [name if names.index(name) == i else f"{name} ({names[:i].count(name) + 1})" for i, name in enumerate(names)]


def about_maps(rows: Sequence[Patch]) -> str:
    """Return what a caption says about the maps."""
    return (
        f"Attention of layer {rows[0].layer} to the patches, mean over heads, on one scale for each image; spread:"
        " exp(entropy) of the map, in patches."
    )


def effective_patches(attention: Sequence[float]) -> float:
    """Return exp(entropy) of a map: the number of patches with this entropy under even attention."""
    shares = np.array(attention) / sum(attention)
    return float(np.exp(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()))


def draw(found: Maps) -> "Figure":
    """Return a figure with one row per image: the image, and each learner's map on it."""
    images, learners = (list(dict.fromkeys(getattr(p, name) for p in found.rows)) for name in ("image", "learner"))
    columns = len(learners) + 1
    figure, axes = new_figure(SIZE * columns + 0.5, (SIZE + 0.45) * len(images) + 0.8, len(images), columns)
    for row, image in zip(axes, images, strict=True):
        picture = found.pictures[image]
        row[0].imshow(picture)
        row[0].set_title(image, fontsize=7)
        mine = [p for p in found.rows if p.image == image]
        highest = max(p.attention for p in mine)
        for axis, learner in zip(row[1:], learners, strict=True):
            shown = _map(axis, picture, [p for p in mine if p.learner == learner], highest)
        figure.colorbar(shown, ax=row.tolist(), shrink=0.85, aspect=12, pad=0.01).ax.tick_params(labelsize=6)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    say_below(figure, found.caption)
    return figure


def _map(axis: Any, picture: NDArray[np.uint8], patches: Sequence[Patch], highest: float) -> Any:
    """Draw one map over a grey image; return what a colour bar needs."""
    values = np.zeros((1 + max(p.row for p in patches), 1 + max(p.column for p in patches)))
    for p in patches:
        values[p.row, p.column] = p.attention
    extent = (0, picture.shape[1], picture.shape[0], 0)
    axis.imshow(picture.mean(-1), cmap="gray", extent=extent)
    shown = axis.imshow(
        values, cmap="viridis", vmin=0, vmax=highest, alpha=0.65, extent=extent, interpolation="nearest"
    )
    spread = effective_patches([p.attention for p in patches])
    first = patches[0]
    axis.set_title(
        f"{first.learner}\ntask {first.task}, {first.label}\nspread {spread:.1f} of {values.size}", fontsize=6.5
    )
    return shown
