"""The test samples of a run, for thumbnails and excerpts; shown only if they are the data that the run was tested on.

For a page nothing is fetched from the Hub: only data on this machine are read.
"""

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from softtf.errors import UserError
from softtf.report.found import RunResult
from softtf.runs.data import DATA, check_data
from softtf.streams import Examples, local_path
from softtf.streams.decode import decode
from softtf.streams.sources import SOURCES

SIDE = 64  # pixels of a thumbnail's long side
EXCERPT = 160  # characters of a text


@dataclass(frozen=True)
class TestInputs:
    """Test samples by their place in the concatenated test sets; or the reason why there are none."""

    __test__ = False  # not a pytest class

    examples: Examples | None
    reason: str = ""

    def shown(self, index: int) -> tuple[str, str]:
        """Return a sample as a thumbnail's data URI and as text; one of them is empty, or both are."""
        if self.examples is None:
            return "", ""
        raw = self.examples[index]
        if isinstance(raw, str) and not os.path.isfile(raw):
            words = " ".join(raw[: 4 * EXCERPT].split())
            return "", words if len(words) <= EXCERPT else f"{words[:EXCERPT]}…"
        try:
            return thumbnail(raw, self.examples.where(index)), ""
        except UserError:
            return "", "cannot be read"


def test_inputs(run: RunResult, wanted: bool = True, why: str = "") -> TestInputs:
    """Return the test samples of a run's evaluated tasks, if its data are present and unchanged."""
    source, path = run.config.stream.given, run.path
    if not wanted:
        return TestInputs(None, why or "left out by --no-images")
    if not (path / DATA).exists():
        return TestInputs(
            None, f"the run has no {DATA}, by which its data could be known (an earlier version wrote it)"
        )
    if source not in SOURCES and not (os.path.isabs(source) and local_path(source).exists()):
        return TestInputs(None, "the run's data are not on this machine where they were")
    changed: list[str] = []
    try:
        stream = run.config.stream.build()
        check_data(run.folder, stream, source, run.evaluated, changed.append)
    except UserError as error:
        return TestInputs(None, str(error).replace(source, os.path.basename(source)).replace(f"{path}{os.sep}", ""))
    tests = [task.test for task in stream[: run.evaluated] if task.test is not None]
    return TestInputs(Examples.concatenate(tests))


def thumbnail(raw: Any, where: str) -> str:
    """Return an image as the data URI of a small JPEG.

    Raises:
        UserError: it cannot be decoded.
    """
    image = Image.fromarray(decode(raw, where).permute(1, 2, 0).numpy())
    image.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def spread(indices: Sequence[int], groups: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the indices, taken from each group in turn, in order within a group."""
    queues: dict[int, list[int]] = {}
    for i in indices:
        queues.setdefault(groups[i], []).append(i)
    ranked = sorted((turn, place, i) for place, queue in enumerate(queues.values()) for turn, i in enumerate(queue))
    return [i for _, _, i in ranked[:most]]
