"""`softtf figure` and `softtf predict --attention`."""

import csv
import re
from pathlib import Path

import pytest

from cli import call, output, refused
from softtf.figures import FIGURES

pytestmark = pytest.mark.slow  # whole runs

Capture = pytest.CaptureFixture[str]


def rows_of(file: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(file).read_text().splitlines()))


@pytest.fixture
def photo(images: Path) -> Path:
    return next((images / "test" / "ant").iterdir())


def test_a_figure_and_its_numbers_are_written(run: Path, capsys: Capture) -> None:
    out = output(capsys, "figure", "training", run, "--output", "new/curves.svg", "--policy", "prompt-id")
    assert out == "figure: new/curves.svg; its numbers: new/curves.csv\n"
    assert Path("new/curves.svg").read_bytes().startswith(b"<?xml")
    assert {row["policy"] for row in rows_of("new/curves.csv")} == {"", "Prompt ID, per-sample"}
    output(capsys, "figure", "densities", run, "--tasks", "1", "2", "--layer", "5")
    assert sorted(p.name for p in Path().iterdir()) == ["densities.csv", "densities.png", "new"]


def test_wrong_input_is_one_line(run: Path, photo: Path, capsys: Capture) -> None:
    assert "unknown figure 'layer'; did you mean 'layers'?" in refused(capsys, "figure", "layer", run)
    assert "name a figure: densities, layers" in refused(capsys, "figure")
    assert "figure layers needs runs: softtf figure layers RUN" in refused(capsys, "figure", "layers")
    assert "convergence needs no run" in refused(capsys, "figure", "convergence", run)
    assert "does not read --tasks; it takes --policy" in refused(capsys, "figure", "layers", run, "--tasks", "1")
    assert "no options of its own" in refused(capsys, "figure", "convergence", "--layer", "1")
    assert "ends in .png, .pdf, .svg" in refused(capsys, "figure", "layers", run, "--output", "a.gif")
    assert "is not a run" in refused(capsys, "figure", "layers", photo.parent)
    assert "unknown policy 'promptid'" in refused(capsys, "figure", "layers", run, "--policy", "promptid")
    assert "at least three streams" in refused(capsys, "figure", "radar", run)
    assert not list(Path().iterdir())


def test_every_figure_is_listed(capsys: Capture) -> None:
    out = output(capsys, "list", "figures")
    assert re.findall(r"^  (\S+)  ", out, re.MULTILINE) == list(FIGURES)


def test_predict_draws_the_attention_of_its_answers(run: Path, images: Path, capsys: Capture) -> None:
    folder = images / "test" / "bee"
    answers = output(capsys, "predict", run, folder)
    out = output(capsys, "predict", run, folder, "--attention", "maps.pdf")
    assert out == answers and Path("maps.pdf").read_bytes().startswith(b"%PDF")
    rows = rows_of("maps.csv")
    shown = {row["image"]: (row["label"], f"task {row['task']}") for row in rows}
    lines = [line.split("\t") for line in answers.splitlines()]
    assert shown == {Path(file).name: (label, task) for file, label, _, task in lines}


def test_what_predict_cannot_draw_is_refused_before_it_answers(run: Path, images: Path, capsys: Capture) -> None:
    assert "ends in .png, .pdf, .svg" in refused(capsys, "predict", run, images, "--attention", "maps")
    assert "at most 12 images, not 32" in refused(capsys, "predict", run, images, "--attention", "maps.png")
    assert call("predict", run, images / "test" / "ant", images / "nothing.png", "--attention", "maps.png") == 1
    assert len({row["image"] for row in rows_of("maps.csv")}) == 3
