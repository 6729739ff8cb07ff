"""The picture of an accuracy matrix that trackers get."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_NUMBERED = 12
"""Tasks of a matrix whose cells have room for a number."""


def picture_of(accuracy: NDArray[np.float64], title: str) -> Image.Image:
    """Draw a[i, t] in percent, [tasks, tasks]: row i is one task, from left to right as tasks are learned.

    NaN, a task that is not learned yet, is left empty.
    """
    from matplotlib.figure import Figure  # not loaded by a run without trackers

    count = len(accuracy)
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(np.ma.masked_invalid(accuracy), cmap="viridis", vmin=0, vmax=100, interpolation="none")
    figure.colorbar(shown, ax=axes, label="%")
    for i, t in np.argwhere(~np.isnan(accuracy)) if count <= MOST_NUMBERED else ():
        colour = "black" if accuracy[i, t] > 60 else "white"  # viridis is light there
        axes.text(t, i, f"{accuracy[i, t]:.0f}", ha="center", va="center", color=colour, fontsize=8)
    places = range(0, count, max(1, -(-count // 12)))
    axes.set_xticks(list(places), [str(place + 1) for place in places])
    axes.set_yticks(list(places), [str(place + 1) for place in places])
    axes.set(xlabel="after task", ylabel="accuracy on task", title=title)
    data = BytesIO()
    figure.savefig(data, format="png", dpi=100)
    return Image.open(data).convert("RGB")
