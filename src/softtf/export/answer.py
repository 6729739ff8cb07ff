"""Answer by an exported learner with NumPy and onnxruntime alone: no torch, no softtf.

Every exported folder has a copy of this file. As a command:

    python answer.py picture.jpg another.jpg

In Python:

    from answer import Exported

    learner = Exported("folder")
    learner.predict(["picture.jpg"])  # labels; texts, if it reads texts

Images need Pillow, texts tokenizers, and files that end in .pt2 torch (2.6 or later). A learner is one graph that
answers, or a trunk and a graph for each task: the trunk says what share each task's network has in an answer.
"""

import hashlib
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Graph = Callable[..., list[Array]]
ABOUT, FORMAT = "export.json", 1


class Exported:
    """An exported learner.

    Attributes:
        labels: as they were learned; tuples are lists, bytes {"bytes": base64}.
        tasks: the tasks' names.

    Args:
        folder: of the export; each file must have the hash that `export.json` has of it.

    Raises:
        ValueError: the folder is no export, or a file was changed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.about: dict[str, Any] = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
        if self.about.get("export_format") != FORMAT:
            raise ValueError(f"{self.folder / ABOUT} is not of an export that this file can read")
        self.labels: list[Any] = self.about["labels"]
        self.tasks: list[str] = self.about["tasks"]
        self._trunk = self._graph(self.about["trunk"])
        self._tops = [self._graph(name) for name in self.about["tops"]]

    def predict(self, inputs: Sequence[Any], batch_size: int = 32) -> list[Any]:
        """Return the label of each input: image files, Pillow images, uint8 arrays [h, w, 3], or texts."""
        parts = [inputs[start : start + batch_size] for start in range(0, len(inputs), batch_size)]
        return [self.labels[i] for part in parts for i in self.answer(self.prepared(part))[0].argmax(1)]

    def answer(self, prepared: Array) -> tuple[Array, Array]:
        """Return probabilities [n, labels], and the task [n] that each input is taken to be of, from 0.

        prepared: float32 [n, 3, side, side] or [n, views, 3, side, side] in [0, 1]; or int64 [n, tokens], padded by -1.
        """
        columns, tasks = self.about["columns"], np.array(self.about["column_tasks"])
        *tokens, found = self._trunk(prepared)
        if self._tops:
            weights, found = found, np.zeros((len(found), len(columns)), np.float32)
            for task in np.flatnonzero(weights.any(0)):
                rows = np.flatnonzero(weights[:, task])
                (own,) = self._tops[task](*(part[rows] for part in tokens))
                found[rows] += weights[rows, task, None] * own
        named = weights.argmax(1) if self._tops else tasks[found.argmax(1)]
        probabilities = np.zeros((len(found), len(self.labels)), np.float32)
        for column, label in enumerate(columns):
            probabilities[:, label] += found[:, column]
        return probabilities, named

    def prepared(self, inputs: Sequence[Any]) -> Array:
        """Return inputs as `answer` takes them."""
        how = self.about["preparation"]
        if how["kind"] == "text":
            return self._texts(inputs)
        views = [np.stack([_crop(_opened(raw), side, how["size"]) for side in how["resize"]]) for raw in inputs]
        stacked = np.stack(views).astype(np.float32) / np.float32(255)
        return stacked if how["views"] else stacked[:, 0]

    def _texts(self, inputs: Sequence[str]) -> Array:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        ids = [encoding.ids or [0] for encoding in tokenizer.encode_batch(list(inputs))]
        padded = np.full((len(ids), max(map(len, ids))), -1, np.int64)
        for row, own in zip(padded, ids, strict=True):
            row[: len(own)] = own
        return padded

    def _graph(self, name: str) -> Graph:
        path = self.folder / name
        if hashlib.sha256(path.read_bytes()).hexdigest() != self.about["sha256"][name]:
            raise ValueError(f"{path} is not the file that was exported")
        return _of_torch(path) if path.suffix == ".pt2" else _of_onnx(path)


def _of_onnx(path: Path) -> Graph:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return lambda *values: session.run(None, dict(zip(names, values, strict=True)))


def _of_torch(path: Path) -> Graph:
    import torch

    graph = torch.export.load(str(path)).module()

    def run(*values: Array) -> list[Array]:
        with torch.no_grad():
            return [out.numpy() for out in graph(*map(torch.from_numpy, values))]

    return run


def _opened(raw: Any) -> Any:
    """Return a Pillow image in RGB, turned as its EXIF says; alpha is dropped."""
    from PIL import Image, ImageOps

    if isinstance(raw, np.ndarray):
        return Image.fromarray(raw).convert("RGB")
    # From bytes: of a file that is mapped, some versions of Pillow forget the orientation.
    image = raw if isinstance(raw, Image.Image) else Image.open(io.BytesIO(Path(raw).read_bytes()))
    image.load()  # some formats have their orientation only then
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        raise ValueError(f"{raw}: an image of more than 8 bits a channel; turn it into one of 8 bits")
    transparent = image.mode == "P" and "transparency" in image.info
    return (image.convert("RGBA") if transparent else image).convert("RGB")


def _crop(image: Any, short: int, size: int) -> Array:
    """Return uint8 [3, size, size]: the short side at `short` (bicubic), then the centre."""
    side = min(image.size)
    if side != short:
        image = image.resize(tuple(int(short * length / side) for length in image.size), 3)
    left, top = (round((length - size) / 2) for length in image.size)
    return np.asarray(image)[top : top + size, left : left + size].transpose(2, 0, 1)


if __name__ == "__main__":
    for given, label in zip(sys.argv[1:], Exported(Path(__file__).parent).predict(sys.argv[1:]), strict=True):
        print(json.dumps([given, label]))
