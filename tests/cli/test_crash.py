"""Stopped at any moment, a run goes on to the same bytes. The stopped processes are forks: no imports."""

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest

from cli import BACKBONE, DIGITS, SMALL, TINY, call, contents, refused, results, unfinish
from softtf.evaluation import scorer
from softtf.files.tensors import load_tensors, save_tensors
from softtf.learners.derpp import DERppLearner
from softtf.learners.dual_prompt import DualPromptLearner
from softtf.runs import learn as learning
from support.folders import as_softtf_0_1_saved_it
from support.stopping import RUN, STEPS, STEPWISE, Killer, at_call, go_on, in_another_process, send

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of a run that nothing stops."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    assert call(*RUN, "--output", path) == 0
    return results(path)


# --- at every file that is touched ---


@pytest.mark.parametrize(("first", "torn"), [(0, False), (3, True)])
def test_killed_at_any_file_a_run_goes_on_to_the_same_bytes(
    first: int, torn: bool, whole: dict[str, bytes], capsys: Capture
) -> None:
    for number in range(first, 1000, 7):
        path = Path(f"killed-{number}")
        killer = Killer(path, number, torn)
        code = in_another_process(lambda hook=killer: sys.addaudithook(hook), *RUN, "--output", path)  # type: ignore
        if code == 0:
            break
        assert code == -signal.SIGKILL
        try:
            go_on(path, capsys, whole)
        except AssertionError as error:
            raise AssertionError(f"killed before file event {number}") from error
    assert number > 30


# --- in the middle of the work ---


MOMENTS = {
    "first-step": at_call(1, DualPromptLearner, "loss", send(signal.SIGKILL)),
    "second-epoch": at_call(STEPS + 2, DualPromptLearner, "loss", send(signal.SIGKILL)),
    "second-task": at_call(3 * STEPS + 3, DualPromptLearner, "loss", send(signal.SIGKILL)),
    "first-evaluation": at_call(1, scorer, "evaluate", send(signal.SIGKILL)),
    "last-evaluation": at_call(2, scorer, "evaluate", send(signal.SIGKILL)),
    "results": at_call(1, learning, "write_results", send(signal.SIGKILL)),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_in_mid_work_a_run_goes_on_to_the_same_bytes(
    moment: str, whole: dict[str, bytes], capsys: Capture
) -> None:
    assert in_another_process(MOMENTS[moment], *RUN, "--output", "new") == -signal.SIGKILL
    go_on(Path("new"), capsys, whole)


def test_killed_again_and_again(whole: dict[str, bytes], capsys: Capture) -> None:
    path = Path("new")
    assert in_another_process(MOMENTS["second-epoch"], *RUN, "--output", path) == -signal.SIGKILL
    for moment in (MOMENTS["first-step"], MOMENTS["first-evaluation"]) * 2:
        assert in_another_process(moment, "resume", path) == -signal.SIGKILL
    go_on(path, capsys, whole)


def test_a_finished_run_stays_as_it_is(whole: dict[str, bytes], capsys: Capture) -> None:
    assert call(*RUN, "--output", "new") == 0
    before = contents(Path("new"))
    go_on(Path("new"), capsys, whole)
    assert contents(Path("new")) == before


@pytest.mark.parametrize("moment", ["second-epoch", "second-task", "first-evaluation"])
def test_ctrl_c_says_how_to_go_on(moment: str, whole: dict[str, bytes], capsys: Capture) -> None:
    calls = {"second-epoch": (STEPS + 2, "loss"), "second-task": (3 * STEPS + 3, "loss"), "first-evaluation": (1, "")}
    number, name = calls[moment]
    owner = DualPromptLearner if name else scorer
    stop = at_call(number, owner, name or "evaluate", send(signal.SIGINT))
    assert in_another_process(stop, *RUN, "--output", "new") == 130
    assert "softtf resume new" in Path("stdout").read_text()
    assert Path("stderr").read_text() == "softtf: stopped\n"
    assert not list(Path("new").rglob("*.tmp"))
    go_on(Path("new"), capsys, whole)


def test_ctrl_c_twice(whole: dict[str, bytes], capsys: Capture) -> None:
    stop = at_call(2, DualPromptLearner, "loss", send(signal.SIGINT))
    assert in_another_process(stop, *RUN, "--output", "new") == 130
    assert in_another_process(stop, "resume", "new") == 130
    assert "softtf resume new" in Path("stdout").read_text()
    go_on(Path("new"), capsys, whole)


# --- what a crash may leave ---


def stopped_in_the_second_task(path: Path) -> None:
    moment = at_call(3 * STEPS + 2, DualPromptLearner, "loss", send(signal.SIGKILL))  # its second epoch
    assert in_another_process(moment, *RUN, "--output", path) == -signal.SIGKILL
    assert (path / "learner/task-001.json").exists() and not (path / "learner/task-002.json").exists()


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "a bit of a number", "a bit of the header"])
def test_a_damaged_checkpoint_costs_its_epochs_only(kind: str, whole: dict[str, bytes], capsys: Capture) -> None:
    stopped_in_the_second_task(Path("new"))
    file = Path("new/checkpoint.safetensors")
    data = file.read_bytes()
    header = int.from_bytes(data[:8], "little")
    damaged = {
        "truncated": data[: len(data) // 2],
        "empty": b"",
        "text": b"no tensors" * 9,
        "a bit of a number": flipped(data, 8 + header + 200),
        "a bit of the header": flipped(data, data.index(b'"task"') + 8),
    }
    file.write_bytes(damaged[kind])
    output = " ".join(go_on(Path("new"), capsys, whole).split())
    assert "note:" in output and "checkpoint.safetensors" in output and "task 2 starts again" in output


def test_the_checkpoint_of_another_run_costs_its_epochs_only(whole: dict[str, bytes], capsys: Capture) -> None:
    """It is whole, of the same task, and its parameters have the same names and shapes."""
    stopped_in_the_second_task(Path("new"))
    moment = at_call(3 * STEPS + 2, DualPromptLearner, "loss", send(signal.SIGKILL))
    assert in_another_process(moment, *RUN, "--seed", "1", "--output", "other") == -signal.SIGKILL
    shutil.copy("other/checkpoint.safetensors", "new/checkpoint.safetensors")
    output = " ".join(go_on(Path("new"), capsys, whole).split())
    assert "note:" in output and "is of another run" in output and "task 2 starts again" in output


def test_a_run_that_softtf_0_1_began_is_gone_on_with(whole: dict[str, bytes], capsys: Capture) -> None:
    """Its JSON has no hashes, and its checkpoint none, so that this costs its epochs; the results are the same."""
    stopped_in_the_second_task(Path("new"))
    as_softtf_0_1_saved_it(Path("new/learner"), finished=False)
    counts = Path("new/accuracy/after-001.json")
    counts.write_text(json.dumps(json.loads(counts.read_text())["policies"]))
    save_tensors(Path("new/checkpoint.safetensors"), load_tensors(Path("new/checkpoint.safetensors")), {"task": "1"})
    capsys.readouterr()
    assert call("resume", "new") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "has no SHA-256 (softtf 0.1 wrote none); task 2 starts again" in output
    found = results(Path("new"))
    assert {name for name in whole if found[name] != whole[name]} == {
        *(f"learner/{name}.json" for name in ("learner", "task-001", "manifest")),
        *(f"accuracy/after-00{task}.json" for task in (1, 2)),  # the second names the learner by its hash
    }
    assert call("evaluate", "new", "--last") == 0
    Path("new/learner/task-001.json").write_text("{}")
    assert "task-001.json is not the file that was saved" in refused(capsys, "evaluate", "new", "--last")


def test_a_lost_checkpoint_costs_its_epochs_only(whole: dict[str, bytes], capsys: Capture) -> None:
    stopped_in_the_second_task(Path("new"))
    Path("new/checkpoint.safetensors").unlink()
    go_on(Path("new"), capsys, whole)


def test_torn_temporary_files_disturb_nobody(whole: dict[str, bytes], capsys: Capture) -> None:
    stopped_in_the_second_task(Path("new"))
    torn = [".checkpoint.safetensors.tmp", "learner/.task-002.safetensors.tmp", "learner/.task-002.json.tmp"]
    for name in torn + ["accuracy/.after-002.json.tmp", ".accuracy.json.tmp"]:
        Path("new", name).write_bytes(b"\0half a file")
    assert call("evaluate", "new", "--last") == 0
    go_on(Path("new"), capsys, whole)


def test_a_folder_with_nothing_but_a_torn_file_is_free(whole: dict[str, bytes], capsys: Capture) -> None:
    Path("new").mkdir()
    Path("new/.config.yaml.tmp").write_bytes(b"half a fi")
    go_on(Path("new"), capsys, whole)


def test_a_task_that_was_half_saved_is_learned_again(whole: dict[str, bytes], capsys: Capture) -> None:
    assert call(*RUN, "--output", "new") == 0
    for name in (
        "learner/task-002.json",
        "accuracy/after-002.json",
        "accuracy.json",
        "summary.json",
    ):
        Path("new", name).unlink()
    Path("new/learner/task-002.safetensors").write_bytes(b"half of it")
    unfinish(Path("new"))
    go_on(Path("new"), capsys, whole)


# --- a method that remembers examples ---


def test_a_run_with_a_buffer_of_exemplars_goes_on_to_the_same_bytes(capsys: Capture) -> None:
    """The buffer changes at each step, so that a checkpoint must hold it as it was."""
    settings = (*SMALL, *DIGITS, *STEPWISE, "--learner.exemplars", "20")
    run = ("run", "quickstart", "--method", "der++", *BACKBONE, *settings, "--train.augment")
    assert call(*run, "--output", "whole") == 0
    stop = at_call(3 * STEPS + 2, DERppLearner, "loss", send(signal.SIGKILL))  # in the second task's second epoch
    assert in_another_process(stop, *run, "--output", "new") == -signal.SIGKILL
    assert (Path("new") / "checkpoint.safetensors").exists() and not Path("new/learner/task-002.json").exists()
    assert call("resume", "new") == 0, capsys.readouterr().err
    assert results(Path("new")) == results(Path("whole"))


def test_a_lost_row_of_scores_is_found_again_with_the_learner_as_it_was(tmp_path: Path) -> None:
    assert call(*TINY, "--output", tmp_path / "run") == 0
    row = tmp_path / "run" / "accuracy" / "after-001.json"
    scores = row.read_bytes()
    row.unlink()
    assert call("resume", tmp_path / "run") == 0
    assert row.read_bytes() == scores
