"""The queue of runs, with workers that do as the test says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softtf.errors import UserError
from softtf.runs.config import RunConfig
from softtf.screen import Screen
from softtf.sweeps import queue as module
from softtf.sweeps.job import Job
from softtf.sweeps.queue import TRIES, Attempt, carry_out
from softtf.sweeps.state import failure_file
from softtf.sweeps.work import Outcome

DONE = Outcome("done")
AWAY = Outcome("away", "s3://b/x cannot be read or written")
FULL, KILLED = Outcome("memory", "there is not enough memory"), Outcome("killed", "its process has ended (SIGKILL)")


class Scripted:
    """Workers of which each run ends as its script says, one attempt after another; then it is done."""

    def __init__(self, places: int = 4, **scripts: list[Outcome]) -> None:
        self.places = self.at_once = places
        self.apart, self.patience, self.elsewhere, self.stopped = False, TRIES, False, False
        self.scripts, self.going = scripts, dict[Path, str]()
        self.begun: list[tuple[str, int | None, int]] = []
        self.before_end: Callable[[Path], Any] = lambda path: None

    def begin(self, attempt: Attempt) -> None:
        name = attempt.job.path.name
        self.going[attempt.job.path] = name
        self.begun.append((name, attempt.batch_size, len(self.going)))

    def ended(self) -> list[tuple[Path, Outcome]]:
        path = next(iter(self.going))
        script = self.scripts.get(self.going.pop(path), [])
        self.before_end(path)
        outcome = script.pop(0) if script else DONE
        if outcome is DONE:
            path.mkdir(exist_ok=True)
            (path / "summary.json").touch()
        return [(path, outcome)]

    def ease(self, attempt: Attempt) -> str:
        self.places = max(1, self.places // 2)
        return ", fewer beside it"

    def stop(self) -> None:
        self.stopped = True

    def tries(self, name: str) -> list[int | None]:
        return [size for begun, size, _ in self.begun if begun == name]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setattr(module, "LOOK", 0.0)
    monkeypatch.setattr(module, "REST", 0.0)
    monkeypatch.setattr(Job, "state", property(lambda job: "finished" if job.finished else "to do"))
    monkeypatch.setattr(module, "left", lambda jobs, at_once: f"left of {len(jobs)}")


def jobs(folder: Path, *names: str) -> list[Job]:
    return [Job(RunConfig(), folder / name, f"run {name}") for name in names]


def test_each_run_is_begun_once_and_no_more_at_once_than_there_are_places(tmp_path: Path) -> None:
    workers = Scripted(2)
    assert carry_out(jobs(tmp_path, *"abcde"), lambda: workers, Screen(quiet=True)) == {}
    assert [(name, size) for name, size, _ in workers.begun] == [(name, None) for name in "abcde"]
    assert max(beside for *_, beside in workers.begun) == 2 and workers.stopped


def test_a_finished_run_is_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/summary.json").touch()
    workers = Scripted()
    carry_out(jobs(tmp_path, "a", "b"), lambda: workers, Screen(width=200))
    assert [name for name, *_ in workers.begun] == ["b"]
    assert "run 1 of 2, seed 0: run a: finished before" in capsys.readouterr().out


def test_a_users_error_is_never_retried_and_stops_no_other_run(tmp_path: Path) -> None:
    workers = Scripted(a=[Outcome("failed", "no such layer")])
    failed = carry_out(jobs(tmp_path, "a", "b"), lambda: workers, Screen(quiet=True))
    assert failed == {tmp_path / "a": "no such layer"}
    assert workers.tries("a") == workers.tries("b") == [None]
    assert json.loads(failure_file(tmp_path / "a").read_text()) == {"reason": "no such layer"}
    assert carry_out(jobs(tmp_path, "a", "b"), lambda: Scripted(), Screen(quiet=True)) == {}
    assert not failure_file(tmp_path / "a").exists()


def test_out_of_memory_gets_smaller_batches_and_fewer_runs_beside_it(tmp_path: Path) -> None:
    workers = Scripted(4, a=[FULL, FULL])
    assert carry_out(jobs(tmp_path, *"abcd"), lambda: workers, Screen(quiet=True)) == {}
    assert workers.tries("a") == [None, 30, 15] and workers.places == 1
    beside = [count for name, _, count in workers.begun if name == "a"]
    assert beside == [1, 2, 1]


def test_out_of_memory_for_ever_fails_after_a_few_tries(tmp_path: Path) -> None:
    workers = Scripted(a=[FULL] * 99)
    assert carry_out(jobs(tmp_path, "a"), lambda: workers, Screen(quiet=True)) == {tmp_path / "a": FULL.reason}
    assert workers.tries("a") == [None, 30, 15, 7]


def test_a_killed_run_goes_on_until_it_is_killed_too_often_without_a_new_epoch(tmp_path: Path) -> None:
    workers = Scripted(a=[KILLED] * 99)
    assert carry_out(jobs(tmp_path, "a"), lambda: workers, Screen(quiet=True)) == {tmp_path / "a": KILLED.reason}
    assert workers.tries("a") == [None, None, 30, 15], "twice in one epoch: perhaps the system did it for the memory"


def test_a_run_whose_storage_fails_is_tried_again_as_it_was(tmp_path: Path) -> None:
    workers = Scripted(x=[AWAY] * TRIES, y=[AWAY] * (TRIES + 1))
    failed = carry_out(jobs(tmp_path, "x", "y"), lambda: workers, Screen(quiet=True))
    assert failed == {tmp_path / "y": AWAY.reason}
    assert workers.tries("x") == [None] * (TRIES + 1) == workers.tries("y"), "its memory was never short"


def test_a_run_that_learns_an_epoch_between_kills_goes_on_to_its_end(tmp_path: Path) -> None:
    def learn(path: Path) -> None:
        path.mkdir(exist_ok=True)
        with open(path / "events.jsonl", "a") as log:
            log.write('{"event": "epoch", "task": 0, "epoch": 1, "seconds": 1.0}\n')

    workers = Scripted(a=[KILLED] * 9)
    workers.before_end = learn
    assert carry_out(jobs(tmp_path, "a"), lambda: workers, Screen(quiet=True)) == {}
    assert workers.tries("a") == [None] * 10


@pytest.mark.parametrize("times", [1, 99])
def test_a_run_that_another_process_does_is_tried_again_then_skipped(times: int, tmp_path: Path) -> None:
    busy = Outcome("busy", "a is in use by process 7")
    workers = Scripted(a=[busy] * times)
    failed = carry_out(jobs(tmp_path, "a", "b"), lambda: workers, Screen(quiet=True))
    assert failed == ({tmp_path / "a": busy.reason} if times > TRIES else {})
    assert len(workers.tries("a")) == min(times + 1, TRIES)
    assert not failure_file(tmp_path / "a").exists()


def test_a_run_whose_results_are_on_another_machine_is_not_done(tmp_path: Path) -> None:
    workers = Scripted(a=[Outcome("done")] * 99)
    failed = carry_out(jobs(tmp_path, "a"), lambda: workers, Screen(quiet=True))
    assert "is it on storage that all machines share?" in failed[tmp_path / "a"]
    assert len(workers.tries("a")) == TRIES


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("a disk is full")])
def test_whatever_ends_the_queue_the_workers_are_stopped(
    error: BaseException, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = Scripted()

    def fail(path: Path) -> None:
        raise error

    workers.before_end = fail
    with pytest.raises(type(error)):
        carry_out(jobs(tmp_path, "a", "b"), lambda: workers, Screen(quiet=True))
    assert workers.stopped
    said = "stopped; 0 of 2 runs are finished" in capsys.readouterr().out
    assert said == isinstance(error, KeyboardInterrupt)


def test_the_plan_is_written_once_there_are_workers_and_not_without(tmp_path: Path) -> None:
    """A demand that Ray could not meet left a sweep.json of runs that nobody began."""
    found, workers, plans = jobs(tmp_path, "a"), Scripted(), list[int]()

    def engage() -> Scripted:
        raise UserError("this machine does not have what a run asks for")

    def plan() -> None:
        plans.append(len(workers.begun))

    with pytest.raises(UserError, match="does not have"):
        carry_out(found, engage, Screen(quiet=True), plan)
    assert not plans
    carry_out(found, lambda: workers, Screen(quiet=True), plan)
    assert plans == [0] and len(workers.begun) == 1
    carry_out(found, engage, Screen(quiet=True), plan)  # all is finished: no worker is wanted
    assert plans == [0, 1]
