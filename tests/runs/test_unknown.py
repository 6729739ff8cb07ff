"""`softtf evaluate --unknown` finds what the learner's own calls find, and a report shows it."""

from pathlib import Path

import pytest

from cli import BACKBONE, DIGITS, call, output, refused
from softtf import ContinualClassifier
from softtf.runs.folder import RunFolder
from softtf.runs.unknown import read_unknown

Capture = pytest.CaptureFixture[str]


@pytest.mark.slow
def test_tasks_to_come_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    small = ("--stream.num-tasks", 2, "--device", "cpu", "--train.precision", "float32")
    assert call("run", "quickstart", *BACKBONE, "--learner.projection", 24, *small, *DIGITS, "--output", "run") == 0
    said = output(capsys, "evaluate", "run", "--unknown", "--false-rejection", 0.2)
    assert "after task 1: AUROC" in said and "after task 2" not in said
    (content,) = RunFolder(Path("run")).rescored()
    rate, (score,) = read_unknown(content) or (0, ())
    stream = RunFolder.open(Path("run"))[1].stream.build()
    model = ContinualClassifier.from_pretrained("run/learner", tasks=1, device="cpu")
    known, unknown = ([task.test[i] for i in range(len(task.test))] for task in stream)
    expected = model.evaluate_unknown(known, unknown, 0.2)
    assert rate == 0.2 and score.tasks == 1
    for name, value in expected.items():  # features of other batches are rounded otherwise
        one = 100 / len(known) if name != "auroc" else 1.0  # a sample that is told otherwise; few pairs
        assert getattr(score, name) == pytest.approx(value, abs=1.01 * one)
    assert call("report", "run", "--output", "page.html", "--no-images") == 0
    assert "20 % of known ones may be rejected" in Path("page.html").read_text()
    assert "above 0 and below 1" in refused(capsys, "evaluate", "run", "--unknown", "--false-rejection", 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--false-rejection", 0.2), "--false-rejection goes with --unknown"),
        (("--unknown", "--policy", "oracle"), "--policy does not go with it"),
        (("--unknown", "--batch-size", 5), "--batch-size does not go with it"),
        (("--unknown", "--last"), "--last does not go with it"),
    ],
)
def test_what_would_be_ignored_is_refused(options: tuple[object, ...], words: str, capsys: Capture) -> None:
    assert words in refused(capsys, "evaluate", "no-run", *options)
