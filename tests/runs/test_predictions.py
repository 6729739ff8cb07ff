"""The answers of the last evaluation in a run's folder: they are those that were counted, and are read with care."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cli import TINY, call, read_json
from softtf.errors import UserError
from softtf.evaluation.evaluate import Samples
from softtf.files.tensors import checksum, load_metadata, load_tensors, save_tensors
from softtf.runs.config import EvaluateConfig
from softtf.runs.folder import RunFolder
from softtf.runs.predictions import RunPredictions, file_name, way_of

TASKS, LABELS = 2, 10


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert call(*TINY, "--output", path) == 0
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def answers(run: Path, way: str) -> Samples:
    found = RunFolder(run).predictions.load(way, TASKS, LABELS)
    assert found is not None
    return found


def test_the_answers_are_those_that_were_counted(run: Path) -> None:
    counts = read_json(run / "accuracy.json")
    assert {file.stem for file in (run / "predictions").iterdir()} == {file_name(code) for code in counts}
    for code, matrix in counts.items():
        found = answers(run, file_name(code))
        right, named = found.answer == found.label, found.task == found.of_task
        assert [int(right[found.of_task == t].sum()) for t in range(TASKS)] == matrix["correct"][-1]
        assert [int(named[found.of_task == t].sum()) for t in range(TASKS)] == matrix["task_correct"][-1]
        assert [int((found.of_task == t).sum()) for t in range(TASKS)] == matrix["total"]
        assert found.of_task.tolist() == sorted(found.of_task.tolist()), "in the order of the test sets"
        assert ((found.confidence > 0) & (found.confidence <= 1.001)).all()


def test_shuffled_samples_come_back_in_order(run: Path) -> None:
    """An answer per sample does not depend on the order of testing; its place in the file does not either."""
    assert call("evaluate", run, "--policy", "prompt-id", "--shuffle", "--last") == 0
    plain, shuffled = answers(run, "prompt-id"), answers(run, "prompt-id-shuffled")
    for one, other in zip(plain[:4], shuffled[:4], strict=True):
        assert torch.equal(one, other)


def test_evaluate_adds_what_a_run_of_an_earlier_version_lacks_and_changes_no_other(run: Path) -> None:
    whole = answers(run, "prompt-id")
    (run / "predictions/prompt-id.safetensors").unlink()
    before = (run / "predictions/oracle.safetensors").read_bytes()
    assert call("evaluate", run, "--policy", "prompt-id", "oracle", "--last") == 0
    assert torch.equal(answers(run, "prompt-id").answer, whole.answer)
    assert (run / "predictions/oracle.safetensors").read_bytes() == before


def test_no_file_is_no_answer(run: Path) -> None:
    assert RunFolder(run).predictions.load("feature-id", TASKS, LABELS) is None


def rewritten(run: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> RunPredictions:
    """The answers under the oracle, changed by somebody who knows which hash fits."""
    predictions = RunFolder(run).predictions
    file = predictions.file("oracle")
    of, tensors = load_metadata(file), load_tensors(file)
    edit(tensors)
    of["sha256"] = checksum(tensors, of["tasks"], of["learner"])
    save_tensors(file, tensors, of)
    return predictions


EDITS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "a label that nobody knows": lambda t: t["answer"].fill_(LABELS),
    "a negative label": lambda t: t["label"].fill_(-1),
    "a task that nobody learned": lambda t: t["task"].fill_(TASKS),
    "a confidence above one": lambda t: t["confidence"].fill_(2.0),
    "no number": lambda t: t["confidence"].fill_(float("nan")),
    "another length": lambda t: t.update(task=t["task"][:-1].clone()),
    "another type": lambda t: t.update(task=t["task"].long()),
    "another shape": lambda t: t.update(task=t["task"][None].clone()),
    "a part less": lambda t: t.pop("of_task"),
    "nothing at all": lambda t: t.update({name: value[:0].clone() for name, value in t.items()}),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_what_is_out_of_bounds_is_refused(edit: Callable[[dict[str, torch.Tensor]], object], run: Path) -> None:
    with pytest.raises(UserError, match=r"oracle\.safetensors cannot be read"):
        rewritten(run, edit).load("oracle", TASKS, LABELS)


def test_a_flipped_bit_and_another_learner_are_found(run: Path) -> None:
    predictions, whole = RunFolder(run).predictions, answers(run, "oracle")
    assert predictions.has("oracle", TASKS, whole) and not predictions.has("oracle", 1, whole)
    with pytest.raises(UserError, match="of another learner than"):
        predictions.load("oracle", 1, LABELS)
    file = predictions.file("oracle")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(UserError, match="is not the file that was saved"):
        predictions.load("oracle", TASKS, LABELS)
    assert not predictions.has("oracle", TASKS, whole)


def test_a_way_to_score_has_its_own_file() -> None:
    ways = [
        way_of(code, EvaluateConfig(shuffle=shuffle, precision=precision))
        for code in ("prompt-id", "gradient-id:3-shot/24:own")
        for shuffle in (False, True)
        for precision in ("float32", "bfloat16")
    ]
    assert ways[0] == "prompt-id" and len({*ways}) == 8 and not any(c in way for way in ways for c in ":/")
