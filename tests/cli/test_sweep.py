"""`softtf sweep` on runs of a second: all runs of a file, how far they are, and what goes wrong."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from cli import call, contents, output, read_json, refused, results
from softtf.learners.dual_prompt import DualPromptLearner
from softtf.sweeps.file import name_of, read_sweep
from softtf.sweeps.job import Job
from support.sweeps import SETTINGS, sweep_file

Capture = pytest.CaptureFixture[str]

RUNS = Path("runs/sweeps/small")
ONE = {"seeds": [0], "vary": {}, "settings": {**SETTINGS, "train.epochs": 1, "learner.adapt.layers": "5"}}
"""A sweep of one run."""


def jobs(**changes: object) -> list[Job]:
    return read_sweep(sweep_file(**changes)).jobs(RUNS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of one run that is finished."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call("sweep", sweep_file(**ONE)) == 0
    return folder / RUNS


def test_a_sweep_gives_what_the_runs_give_one_by_one_and_is_read_by_compare(finished: Path, capsys: Capture) -> None:
    shutil.copytree(finished, RUNS)
    (job,) = jobs(**ONE)
    file = Path("config.yaml")
    shutil.copy(job.path / "config.yaml", file)
    assert call("run", "--config", file, "--output", "alone") == 0
    assert results(job.path) == results(Path("alone"))
    unstarted = RUNS / "digits-2-other-0123abcd/seed-0"
    unstarted.mkdir(parents=True)
    shutil.copy(file, unstarted)
    assert "DualPrompt + Soft-TF" in output(capsys, "compare", RUNS)


def test_the_same_command_again_does_nothing_but_compare(
    finished: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, RUNS)
    before = contents(RUNS)
    monkeypatch.setattr(DualPromptLearner, "loss", None)
    text = output(capsys, "sweep", sweep_file(**ONE))
    assert re.search(r"run 1 of 1, seed 0: dual-prompt\+soft-tf on quickstart: finished in .+ before", text)
    assert "Prompt ID, per-sample" in text and "softtf report runs/sweeps/small" in text
    assert contents(RUNS) == before


def test_status_reads_the_folders_alone(finished: Path, capsys: Capture) -> None:
    shutil.copytree(finished, RUNS)
    (done,) = jobs(**ONE)
    plan = read_json(RUNS / "sweep.json")
    plan["runs"] += [{"name": "a/seed-0", "title": "ncm on quickstart"}, {"name": "b/seed-0", "title": "ranpac"}]
    (RUNS / "sweep.json").write_text(json.dumps(plan))
    (RUNS / "a").mkdir()
    (RUNS / "a/seed-0.failure.json").write_text('{"reason": "no such layer"}')
    text = output(capsys, "sweep", "status", RUNS)
    assert re.search(rf"finished +{re.escape(name_of(done, RUNS))} .*ACC \d+\.\d \(prompt-id\), in ", text)
    assert re.search(r"failed +a/seed-0 +ncm on quickstart +no such layer", text)
    assert re.search(r"to do +b/seed-0 +ranpac", text)
    assert "1 of 3 runs are finished, 1 failed, 1 to do" in text


def test_print_lists_a_command_for_each_run_and_does_none(capsys: Capture) -> None:
    file = sweep_file(vary={"learner.adapt.layers": ["5", "5-6"], "evaluate.policies": [["oracle"]]})
    file = file.rename("two words.yaml")
    lines = output(capsys, "sweep", file, "--output", "my runs", "--print").splitlines()
    found = [shlex.split(line) for line in lines]
    expected = read_sweep(file).jobs(Path("my runs"))
    assert len(found) == 4 and not Path("my runs").exists()
    for words, job in zip(found, expected, strict=True):
        name = name_of(job, Path("my runs"))
        assert words == ["softtf", "sweep", "two words.yaml", "--output", "my runs", "--only", name]


@pytest.mark.slow
def test_a_printed_command_does_its_run_alone(finished: Path, capsys: Capture) -> None:
    file = sweep_file(**{**ONE, "seeds": [1, 0]})
    lines = output(capsys, "sweep", file, "--print").splitlines()
    for _ in range(2):  # it can be given again
        output(capsys, *shlex.split(lines[1])[1:])
    first, second = read_sweep(file).jobs(RUNS)
    assert not first.path.exists() and results(second.path) == results(next(finished.glob("*/seed-0")))
    assert "1 of 2 runs are finished, 1 to do" in output(capsys, "sweep", "status", RUNS)


def test_every_run_is_checked_before_the_first_begins(capsys: Capture) -> None:
    message = refused(capsys, "sweep", sweep_file(vary={"learner.adapt.layers": ["5", "5-14"]}))
    assert "learner.adapt.layers=5-14: " in message and "14" in message
    for name, values in (("stream.num_tasks", [2, 11]), ("stream.source", ["digits", "./nowhere"])):
        message = refused(capsys, "sweep", sweep_file(vary={name: values}, settings=without(name)))
        assert f"{name}={values[1]}: " in message
    assert not Path("runs").exists()


def without(varied: str) -> dict[str, object]:
    return {name: value for name, value in {**SETTINGS, "learner.adapt.layers": "5"}.items() if name != varied}


@pytest.mark.slow
def test_a_run_that_fails_does_not_stop_the_others(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    file = sweep_file(**{**ONE, "vary": {"train.learning_rate": [1e30, 0.03]}})
    assert call("sweep", file) == 2
    out, err = capsys.readouterr()
    bad, good = read_sweep(file).jobs(RUNS)
    assert err.startswith(f"failed: {bad.path}: ") and "became nan in task 1" in err and not bad.path.exists()
    assert good.finished and "Prompt ID, per-sample" in out
    assert re.search(r"failed .* became nan in task 1", " ".join(output(capsys, "sweep", "status", RUNS).split()))


@pytest.mark.slow
def test_out_of_memory_is_tried_again_with_smaller_batches_of_scoring(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, finished: Path
) -> None:
    from softtf.evaluation import evaluate as evaluation

    true, sizes = evaluation.answer, []

    def gather(*args: object, **options: object) -> object:
        sizes.append(args)
        if len(sizes) < 3:
            raise MemoryError
        return true(*args, **options)

    monkeypatch.setattr(evaluation, "answer", gather)
    text = output(capsys, "sweep", sweep_file(**ONE))
    assert re.search(r"not enough memory to score with batch_size 60.*it goes on with 30 samples at once", text)
    assert re.search(r"not enough memory to score with batch_size 30.*it goes on with 15 samples at once", text)
    (job,) = jobs(**ONE)
    assert results(job.path) == results(finished / job.path.relative_to(RUNS))


WRONG = [
    (("sweep",), ["name a sweep file"]),
    (("sweep", "status"), ["name the sweep's folder"]),
    (("sweep", "status", "."), ["is no folder of `softtf sweep`"]),
    (("sweep", "no.yaml"), ["no.yaml cannot be read"]),
    (("sweep", "small.yaml", "elsewhere"), ["softtf sweep status FOLDER"]),
    (("sweep", "status", ".", "--jobs", "2"), ["status only looks", "--jobs"]),
    (("sweep", "small.yaml", "--print", "--jobs", "2"), ["--print does no run", "--jobs"]),
    (("sweep", "small.yaml", "--only", "digits-2-dual/seed-0"), ["run of the sweep", "digits-2-dual-prompt"]),
    (("sweep", "small.yaml", "--cpus", "2"), ["--cpus goes with --ray"]),
    (("sweep", "small.yaml", "--ray", "auto", "--jobs", "2"), ["--jobs does not go with --ray"]),
    (("sweep", "small.yaml", "--ray", "auto", "b.yaml"), ["--ray takes one address"]),
    (("sweep", "small.yaml", "--output", "s3://"), ["--output s3:// is a URL without a place"]),
    (("table", "6", "--scale", "mini", "--dry-run", "--cpus", "2"), ["--cpus goes with --ray"]),
    (("table", "6", "--scale", "mini", "--dry-run", "--jobs", "2", "--ray"), ["--jobs does not go with --ray"]),
    (("sweep", "small.yaml", "--jobs", "0"), ["jobs must be at least 1"]),
    (("table", "8", "--gpus", "1", "--streams", "quickstart", "--rows", "1"), ["--gpus goes with --ray"]),
]


@pytest.mark.parametrize(("args", "parts"), WRONG, ids=[" ".join(args) for args, _ in WRONG])
def test_wrong_words_are_answered_in_a_line(args: tuple[str, ...], parts: list[str], capsys: Capture) -> None:
    sweep_file(**ONE)
    message = refused(capsys, *args)
    assert [part for part in parts if part not in message] == []
    assert not Path("runs").exists()
