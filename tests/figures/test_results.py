import json
import shutil
from pathlib import Path

import pytest

from cli import call
from figures.conftest import Make
from softtf.errors import UserError
from softtf.figures.results import RunResults, headline, labels_of, layers_title
from softtf.runs.folder import RunFolder
from softtf.runs.unknown import UnknownScore, save_unknown


@pytest.mark.slow
def test_scores_are_the_runs_own_and_those_added_later(made: Make, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made(), run)
    assert call("evaluate", run, "--policy", "gradient-id", "prompt-id") == 0
    assert call("evaluate", run, "--policy", "gradient-id", "gradient-id:batch3", "--last") == 0
    assert call("evaluate", run, "--policy", "gradient-id:3-shot/3", "--shuffle", "--last") == 0
    found = RunResults(run)
    assert list(found.own) == list(json.loads((run / "summary.json").read_text())["policies"])
    assert found.scores.keys() == {*found.own, "gradient-id:batch3"}
    saved = json.loads((run / "rescored" / "gradient-id-batch3-last.json").read_text())
    last = found.score("gradient-id:batch3")
    assert (last.acc, last.title, last.matrix, last.forget) == (saved["acc"], saved["title"], None, None)
    assert headline(found) == "prompt-id"


def test_a_run_that_is_not_finished_is_refused(made: Make, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made(), run)
    (run / "summary.json").unlink()
    with pytest.raises(UserError, match=r"is not finished; go on with `softtf resume"):
        RunResults(run).score("prompt-id")
    with pytest.raises(UserError, match="is not a run"):
        RunResults(tmp_path / "nothing")


def test_what_was_measured_of_unknown_inputs_is_no_score(made: Make, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made(), run)
    save_unknown(RunFolder(run), 0.05, [UnknownScore(1, 90.0, 5.0, 50.0)])
    assert RunResults(run).scores.keys() == RunResults(made()).scores.keys()


def test_labels_tell_runs_apart_by_the_least(made: Make) -> None:
    soft, plain = RunResults(made()), RunResults(made("dual-prompt"))
    seed1, longer = (RunResults(made("dual-prompt+soft-tf", *o)) for o in (("--seed", 1), ("--train.epochs", 2)))
    assert labels_of([soft, plain]) == ["DualPrompt + Soft-TF", "DualPrompt"]
    assert labels_of([soft, seed1]) == ["DualPrompt + Soft-TF, seed 0", "DualPrompt + Soft-TF, seed 1"]
    assert labels_of([soft, longer]) == [f"DualPrompt + Soft-TF ({run.path})" for run in (soft, longer)]


@pytest.mark.parametrize(
    "layers, title",
    [("10-12", "L[10,11,12]"), ((3,), "L[3]"), ("1-12", "L[1-12]"), ("all", "L[all]"), ("1,5", "L[1,5]")],
)
def test_layers_are_written_as_in_the_paper(layers: object, title: str) -> None:
    assert layers_title(layers) == title
