"""The file that every export has: it answers like the learner, and needs neither torch nor softtf."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from softtf import ContinualClassifier
from softtf.export.answer import Array, Exported, Graph
from softtf.streams.decode import decode
from softtf.streams.images import ImagePreparation
from support.tiny import pictures

ALONE = """
import runpy, sys
for name in ("torch", "softtf", "transformers", "timm"):
    sys.modules[name] = None  # importing it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def photo(path: Path, seed: int, mode: str = "RGB", size: tuple[int, int] = (45, 31), **options: object) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **options)
    return path


@pytest.mark.slow
def test_it_answers_like_the_learner_for_arrays_and_any_number_of_inputs(
    ridge: ContinualClassifier, exported: Path
) -> None:
    files, images = Exported(exported), pictures(70, 5).numpy()
    for count in (1, 2, 70):
        probabilities, tasks = files.answer(files.prepared(list(images[:count])))
        right = ridge.predict_proba(images[:count])
        assert np.abs(probabilities - right.numpy()).max() < 1e-5 and probabilities.shape == right.shape
        assert tasks.tolist() == ridge.predict_task(images[:count])
    labels = ["a", 1, ["t", 2], "b", 7]
    assert files.labels == labels and files.tasks == ["month 1", "month 2"]
    assert files.predict(list(images)) == [list(x) if type(x) is tuple else x for x in ridge.predict(images)]


def test_it_runs_without_torch_and_softtf(ridge: ContinualClassifier, exported: Path, tmp_path: Path) -> None:
    paths = [str(photo(tmp_path / f"{seed}.png", seed)) for seed in range(3)]
    script = [sys.executable, "-c", ALONE, str(exported / "answer.py"), *paths]
    done = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    right = [list(label) if type(label) is tuple else label for label in ridge.predict(paths)]
    assert told == [[path, label] for path, label in zip(paths, right, strict=True)]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK"])
def test_pictures_are_prepared_bit_for_bit_as_here(mode: str, exported: Path, tmp_path: Path) -> None:
    ending, exif = "tiff" if mode == "CMYK" else "png", Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    path = photo(tmp_path / f"picture.{ending}", 1, mode, exif=exif)
    found = Exported(exported).prepared([path])
    assert found.shape == (1, 2, 3, 16, 16) and found.dtype == np.float32
    for view, resize in enumerate((18, 16)):
        right = ImagePreparation(16, resize).centre(decode(path, "picture"))
        assert torch.equal(torch.from_numpy(found[0, view]), right.float() / 255)


def test_deep_colours_are_refused(exported: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="more than 8 bits"):
        Exported(exported).prepared([tmp_path / "deep.png"])


@pytest.mark.parametrize("name", ["learner.onnx", "export.json"])
def test_a_changed_file_is_refused(name: str, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "copy")
    file = tmp_path / "copy" / name
    text = file.read_bytes()
    file.write_bytes(text.replace(b'"export_format": 1', b'"export_format": 2') if name[0] == "e" else text + b"x")
    with pytest.raises(ValueError, match=r"not of an export|not the file that was exported"):
        Exported(tmp_path / "copy")


def test_the_answer_is_the_sum_of_the_networks_by_their_shares_and_columns_of_one_label_add_up() -> None:
    """Against a loop over samples; a network without a share in any sample is not asked."""
    draw = np.random.default_rng(0)
    shares = draw.random((6, 4)) * (draw.random((6, 4)) < 0.5) * [1, 1, 0, 1]
    shares[:, 0] += 0.1
    tokens, own = draw.random((6, 3)), draw.random((4, 6, 5))
    asked: list[int] = []

    def top(task: int) -> Graph:
        def run(given: Array) -> list[Array]:
            asked.append(task)
            return [np.stack([own[task, np.flatnonzero((tokens == row).all(1))[0]] for row in given])]

        return run

    files = Exported.__new__(Exported)
    files.about, files.labels = {"columns": [0, 1, 2, 1, 3], "column_tasks": [0, 0, 1, 2, 3]}, ["a", "b", "c", "d"]
    files._trunk, files._tops = lambda inputs: [tokens, shares], [top(task) for task in range(4)]
    probabilities, named = files.answer(np.zeros(6))
    columns = np.einsum("nt,tnc->nc", shares, own)
    assert np.allclose(probabilities, columns @ np.eye(4)[[0, 1, 2, 1, 3]])
    assert named.tolist() == shares.argmax(1).tolist() and 2 not in asked and len(asked) == 3
