"""`softtf predict` at scale: a few batches at a time, answers in files, more labels, unknown inputs."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet
import pytest

from cli import call, image_folder, output, refused
from softtf import BackboneSpec, BlockRidge, ContinualClassifier
from softtf.errors import UserError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A learner of three of four kinds of pictures, and the folder with 32 of them."""
    folder = tmp_path_factory.mktemp("learned")
    images = image_folder(folder / "animals")
    model = ContinualClassifier(BackboneSpec("random:test_vit", image_size=32), BlockRidge(60), device="cpu")
    for names in (("ant", "bee"), ("cat",)):
        files = [(str(file), name) for name in names for file in sorted((images / "train" / name).iterdir())]
        model.learn(files, progress=False)
    model.save_pretrained(folder / "learner")
    return folder / "learner", images


def rows_of(capsys: Capture, *args: object, code: int = 0) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert call("predict", *args, "--json") == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of answers, empty cells left out."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
        return [{name: value for name, value in row.items() if value is not None} for row in rows]
    number = {"confidence": float, "task": int, "unknown": float}
    with path.open(newline="") as file:
        return [
            {name: number.get(name.split("_")[0], str)(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


@pytest.mark.slow
def test_files_say_the_same_as_the_screen(places: tuple[Path, Path], capsys: Capture) -> None:
    expected = rows_of(capsys, *places)
    assert len(expected) == 32
    for ending in ("csv", "jsonl", "parquet"):
        said = output(capsys, "predict", *places, "--output", f"answers.{ending}")
        assert said == f"answers.{ending}: 32 answers\n"
        assert read(Path(f"answers.{ending}")) == expected
    assert sorted(p.name for p in Path().iterdir()) == ["answers.csv", "answers.jsonl", "answers.parquet"]


@pytest.mark.slow
def test_answers_are_shown_as_they_come(
    places: tuple[Path, Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows_of(capsys, *places, "--batch-size", 1)  # 16 at a time
    assert len(expected) == 32
    answer, calls = ContinualClassifier.answer, []

    def fails_later(self: ContinualClassifier, inputs: Any, **options: Any) -> Any:
        calls.append(len(inputs))
        if len(calls) > 1:
            raise UserError("the disk is gone")
        return answer(self, inputs, **options)

    monkeypatch.setattr(ContinualClassifier, "answer", fails_later)
    assert rows_of(capsys, *places, "--batch-size", 1, code=2) == expected[:16]
    assert calls == [16, 16]
    calls.clear()
    call("predict", *places, "--batch-size", 1, "--output", "answers.csv")
    assert not list(Path().iterdir()), "there whole, or not at all"


@pytest.mark.slow
def test_bad_files_are_passed_over_wherever_they_stand(places: tuple[Path, Path], capsys: Capture) -> None:
    learner, images = places
    good = sorted((images / "test").rglob("*.png"))
    for name in ("bad.png", "zero.png"):
        Path(name).write_bytes(b"no image" if name == "bad.png" else b"")
    files = [*good[:3], "bad.png", *good, *good, "zero.png"]
    rows = rows_of(capsys, learner, *files, "--batch-size", 1, code=1)
    assert [row["file"] for row in rows] == list(map(str, files))
    assert [i for i, row in enumerate(rows) if "error" in row] == [3, 28]
    assert call("predict", learner, *files, "--output", "answers.csv") == 1
    shown = capsys.readouterr()
    assert shown.out == "answers.csv: 27 answers, 2 not answered\n" and shown.err.count("bad.png") == 1
    assert [i for i, row in enumerate(read(Path("answers.csv"))) if "error" in row] == [3, 28]
    Path("answers.csv").unlink()
    assert "bad.png" in refused(capsys, "predict", learner, *files, "--strict", "--output", "answers.csv")
    assert not Path("answers.csv").exists()
    many = ["bad.png"] * 20
    assert "bad.png" in refused(capsys, "predict", learner, *many)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_is_answered_like_its_folder(kind: str, places: tuple[Path, Path], capsys: Capture) -> None:
    """An image in it that cannot be read is passed over."""
    learner, images = places
    shutil.copytree(images / "test", "photos")
    Path("photos/bee/0a.png").write_bytes(b"no image")

    def answered(place: str) -> list[dict[str, Any]]:
        rows = rows_of(capsys, learner, place, "--batch-size", 1, code=1)
        return [row | {"file": row["file"].removeprefix(f"{place}/"), "error": "error" in row} for row in rows]

    found = answered(Path(shutil.make_archive("photos", kind, "photos")).name)
    assert found == answered("photos")
    assert [row["file"] for row in found if row["error"]] == ["bee/0a.png"]


def test_rows_at_a_url_are_answered_like_the_file(places: tuple[Path, Path], capsys: Capture) -> None:
    learner, images = places
    rows = [{"bytes": file.read_bytes(), "path": None} for file in sorted((images / "test" / "bee").iterdir())]
    pyarrow.parquet.write_table(pyarrow.table({"image": rows}), "rows.parquet")
    url = "memory://photos/rows.parquet"
    with fsspec.open(url, "wb") as opened:
        opened.write(Path("rows.parquet").read_bytes())
    here = rows_of(capsys, learner, "rows.parquet")
    assert [row | {"file": url + row["file"].removeprefix("rows.parquet")} for row in here] == rows_of(
        capsys, learner, url
    )
    model = ContinualClassifier.from_pretrained(learner, device="cpu")
    assert [str(label) for label in model.predict(url)] == [row["label"] for row in here]
    assert "of URLs, those of .parquet files are read" in refused(capsys, "predict", learner, "http://there/cat.png")


def test_several_labels_of_each_input(places: tuple[Path, Path], capsys: Capture) -> None:
    plain, rows = rows_of(capsys, *places), rows_of(capsys, *places, "--top-k", 2)
    for one, row in zip(plain, rows, strict=True):
        top = row.pop("top")
        assert row == one and top[0] == {"label": row["label"], "confidence": row["confidence"]}
        assert len(top) == 2 and top[1]["confidence"] <= top[0]["confidence"]
    output(capsys, "predict", *places, "--top-k", 5, "--output", "a.parquet")
    assert len(read(Path("a.parquet"))[0].keys()) == 4 + 2 * 2, "as many as are known"
    first = output(capsys, "predict", *places, "--top-k", 2).splitlines()[0].split("\t")
    assert len(first) == 5 and first[4].split()[0] in ("ant", "bee", "cat")


@pytest.mark.slow
def test_what_looks_like_no_class_learned_gets_no_label(places: tuple[Path, Path], capsys: Capture) -> None:
    options = ("--unknown", "reject", "--false-rejection", 0.3)
    plain, rows = rows_of(capsys, *places), rows_of(capsys, *places, *options)
    for one, row in zip(plain, rows, strict=True):
        strange = row.pop("unknown")
        assert row == one | {"label": None if strange > 0.7 else one["label"]}
    rejected = [row["file"] for row in rows if row["label"] is None]
    assert rejected and sum("dog" in file for file in rejected) > len(rejected) / 2
    lines = output(capsys, "predict", *places, *options).splitlines()
    assert sum(line.split("\t")[1] == "(unknown)" for line in lines) == len(rejected)
    assert all(line.split("\t")[4].startswith("unknown ") for line in lines)
    output(capsys, "predict", *places, *options, "--output", "a.csv")
    assert sum("label" not in row for row in read(Path("a.csv"))) == len(rejected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--output", "answers.xlsx"), ".xlsx"),
        (("--output", "nowhere/a.csv"), "there is no nowhere"),
        (("--top-k", 0), "top_k must be at least 1, not 0"),
        (("--batch-size", 0), "batch_size must be between 1 and 1,000,000, not 0"),
        (("--false-rejection", 1), "false_rejection must be above 0 and below 1, not 1"),
        (("--unknown", "reject", "--false-rejection", 5), "above 0 and below 1"),
        (("--false-rejection", 0.5), "--false-rejection goes with --unknown reject"),
        (("--output", "a.csv", "--json"), "give one of them"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(
    options: tuple[object, ...], words: str, places: tuple[Path, Path], capsys: Capture
) -> None:
    assert words in refused(capsys, "predict", "no-learner", places[1], *options)
