"""A run in several processes: the same results as in one, one writer, one voice, and an end that can be resumed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file

from cli import BACKBONE, DIGITS, SMALL, TINY, call, output, refused
from softtf.backbones.features import OnStep
from softtf.cli.main import main
from softtf.errors import UserError
from softtf.testing.fixed_step import Operations, replaying
from softtf.training.gradient import GradientTraining
from softtf.training.task import EpochReport
from support.several import several

EXACT = ("--learner.storage", "float32", "--train.epochs", "2", "--feature-cache", "features")


Fault = Callable[[], object]


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def unreadable() -> None:
    raise UserError("photo.png cannot be read")


def command(args: Sequence[str], number: int, fault: Fault, folder: Path) -> None:
    """Carry out a command as one of several processes; one has a fault in the second epoch of task 2."""
    os.chdir(folder.parent)
    usual = GradientTraining.run_epoch

    def run_epoch(training: GradientTraining, on_step: OnStep) -> EpochReport:
        def step(done: int, steps: int) -> None:
            if (training.task, training.epoch, folder.name) == (1, 1, str(number)):
                fault()
            on_step(done, steps)

        return usual(training, step)

    with patch.object(GradientTraining, "run_epoch", run_epoch):
        raise SystemExit(main(list(args)))


def command_that_replays(args: Sequence[str], folder: Path) -> None:
    """Carry out a command as one of several processes, with steps that are recorded and replayed."""
    os.chdir(folder.parent)
    with replaying():
        code = main(list(args))
    raise SystemExit(code if Operations.replays else 99)


def together(
    count: int, name: str, *args: str, number: int = -1, fault: Fault = killed
) -> tuple[list[int], list[str], list[str]]:
    """Carry out a command in several processes in a folder: exit codes, and what each prints on stdout and stderr."""
    codes = several(count, partial(command, args, number, fault), Path(name).resolve())
    out, err = ([(Path(name) / str(n) / stream).read_text() for n in range(count)] for stream in ("out", "err"))
    return codes, out, err


def by_accelerate(count: int, name: str, *args: str) -> tuple[int, list[str], list[str]]:
    """Carry out a command by `accelerate launch` in a folder: its exit code, and what each process prints.

    `--multi_gpu` also starts several processes on a CPU; `--cpu` starts one.
    """
    options = ("--multi_gpu", "--num_processes", str(count), "--main_process_port", "0")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    Path(name).mkdir()
    launcher = (sys.executable, "-m", "accelerate.commands.launch", *options, "--tee", "3", "--log_dir", "logs")
    code = subprocess.run([*launcher, "-m", "softtf", *args], cwd=name, env=environment).returncode
    logs = [sorted(Path(name).glob(f"logs/*/attempt_0/*/{stream}.log")) for stream in ("stdout", "stderr")]
    out, err = ([file.read_text() for file in files] for files in logs)
    return code, out, err


def assert_same_results(found: Path, expected: Path) -> None:
    """The same files, but for those of a checkpoint; learners equal to 1e-5, and the same counts of right answers."""
    assert json.loads((found / "accuracy.json").read_text()) == json.loads((expected / "accuracy.json").read_text())
    names = {str(file.relative_to(expected)) for file in expected.rglob("*") if file.is_file()}
    assert {str(file.relative_to(found)) for file in found.rglob("*") if file.is_file()} == names
    for name in (name for name in names if name.startswith("learner/") and name.endswith(".safetensors")):
        values = load_file(found / name)
        for key, value in load_file(expected / name).items():
            torch.testing.assert_close(values[key], value, rtol=1e-5, atol=1e-5, msg=f"{name}: {key}")


@pytest.mark.slow
def test_a_run_in_several_processes_is_killed_resumed_by_others_and_ends_as_in_one() -> None:
    assert call(*TINY, *EXACT, "--output", "alone") == 0
    codes, out, errors = together(3, "first", *TINY, *EXACT, "--output", "run", number=0)
    assert codes == [-signal.SIGKILL, 2, 2]
    lines = "".join(errors).splitlines()
    assert lines == [
        "softtf: error: another process of this run has ended; everything up to the last full epoch is kept."
        " Go on with: softtf resume run"
    ]
    assert "task 2/2: epoch 1/2" in out[0] and out[1:] == ["", ""]
    code, out, errors = by_accelerate(2, "second", "resume", "../first/run")
    assert code == 0, errors
    assert "resumed from task 1 of 2" in out[0] and "task 2/2: epoch 2/2" in out[0] and "epoch 1/2" not in out[0]
    assert out[1] == "" and errors == ["", ""]
    assert_same_results(Path("first/run"), Path("alone"))
    assert len(list(Path("first/features").iterdir())) == len(list(Path("features").iterdir()))


@pytest.mark.slow
def test_processes_that_replay_recorded_steps_end_as_one_that_does_not() -> None:
    assert call(*TINY, *EXACT, "--output", "alone") == 0
    codes = several(2, partial(command_that_replays, (*TINY, *EXACT, "--output", "run")), Path("first").resolve())
    assert codes == [0, 0]
    assert_same_results(Path("first/run"), Path("alone"))


@pytest.mark.parametrize(("method", "divided"), [("der++", False), ("linear-head", True)])
def test_a_note_says_whose_batches_are_not_divided(
    method: str, divided: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("softtf.runs.learn.count", lambda: 2)  # of the note alone
    text = " ".join(
        output(capsys, "run", "quickstart", "--method", method, *BACKBONE, *SMALL, *DIGITS, "--output", "run").split()
    )
    assert ("each of the 2 processes trains on whole batches" in text) is not divided


@pytest.mark.slow
def test_what_one_process_finds_wrong_ends_all_and_is_told_once() -> None:
    codes, out, errors = together(2, "first", *TINY, *EXACT, "--output", "run", number=1, fault=unreadable)
    assert codes == [2, 2] and out[1] == ""
    assert errors == ["", "softtf: error: photo.png cannot be read\n"]
    assert Path("first/run/checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("predict", "learner", "image.png"), "`softtf predict` does not divide its work among processes"),
        ((*TINY, "--seed", "0", "1"), "--seed: a run on several devices takes one seed"),
        ((*TINY, "--device", "cuda:1"), "device 'cuda:1' is for one process; give auto or cpu"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(
    args: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with suppress(KeyError), patch("softtf.devices.launch.SECONDS_TO_ASK", 0.01):
        assert words in refused(capsys, *args)


@pytest.mark.parametrize("changed", [{"WORLD_SIZE": ""}, {"WORLD_SIZE": "two"}, {"RANK": "first"}])
def test_a_launchers_variable_that_is_no_number_is_refused(
    changed: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in ({"RANK": "0", "WORLD_SIZE": "2"} | changed).items():
        monkeypatch.setenv(name, value)
    ((name, value),) = changed.items()
    assert f"{name} is {value!r}, and torchrun or accelerate launch sets it to a number" in refused(capsys, "list")
