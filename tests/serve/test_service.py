"""Limits of queue and time, the end of a service, and new versions of its learner: no request is lost."""

import base64
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.saving.manifest import MANIFEST
from softtf.serve.version import Version
from support.folders import SOFT_TF, load
from support.serving import SECONDS, Served, serving
from support.tiny import classifier, task_data


class Gate:
    """Stops the thread that answers, until it is opened."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.open, self.batches = threading.Event(), 0
        answers = Version.answers

        def waiting(version: Version, *args: Any) -> Any:
            self.batches += 1
            assert self.open.wait(SECONDS)
            return answers(version, *args)

        patch.setattr(Version, "answers", waiting)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as found:
        yield found


@pytest.fixture(scope="module")
def body(files: list[bytes]) -> dict[str, list[str]]:
    return {"images": [base64.b64encode(files[0]).decode()]}


def until(holds: Callable[[], bool]) -> None:
    start = time.monotonic()
    while not holds():
        assert time.monotonic() < start + SECONDS
        time.sleep(0.005)


def statuses(asked: "list[Future[tuple[int, Any]]]") -> list[int]:
    return [future.result(SECONDS)[0] for future in asked]


def waiting(served: Served, body: Any, pool: ThreadPoolExecutor, count: int) -> "list[Future[tuple[int, Any]]]":
    """Requests that are under way, all of them."""
    asked = [pool.submit(served.ask, "/predict", body) for _ in range(count)]
    until(lambda: served.service.waiting == count)
    return asked


def begun(served: Served) -> HTTPConnection:
    """A request that has said how long its body is, and sent the first bytes of it."""
    connection = HTTPConnection("127.0.0.1", served.port, timeout=SECONDS)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b'{"images"')
    return connection


# --- Limits ----------------------------------------------------------------------------------------------------


def test_who_finds_the_queue_full_is_told_at_once(
    folder: Path, body: Any, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    with serving(folder, load, queue=4) as served:
        asked = waiting(served, body, pool, 4)
        status, found = served.ask("/predict", body)
        assert status == 429 and "try again" in found["detail"]
        assert served.ask("/ready")[0] == 503 and served.ask("/health")[0] == 200
        gate.open.set()
        assert statuses(asked) == [200] * 4
        assert served.ask("/ready")[0] == served.ask("/predict", body)[0] == 200


def test_requests_that_wait_run_together(folder: Path, body: Any, gate: Gate, pool: ThreadPoolExecutor) -> None:
    with serving(folder, load, batch_size=8) as served:
        asked = waiting(served, body, pool, 17)
        until(lambda: gate.batches == 1 and len(served.service.batcher._jobs) >= 9)
        gate.open.set()
        assert statuses(asked) == [200] * 17
        assert gate.batches <= 4


def test_who_waits_too_long_is_told_and_costs_no_more(
    folder: Path, body: Any, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    with serving(folder, load, timeout=0.3) as served:
        first = pool.submit(served.ask, "/predict", body)
        until(lambda: gate.batches == 1)
        later = [pool.submit(served.ask, "/predict", body) for _ in range(3)]
        assert statuses([first, *later]) == [504] * 4
        assert served.service.waiting == 0
        gate.open.set()
        assert served.ask("/predict", body)[0] == 200
        assert gate.batches == 2, "those that nobody waited for were not answered"


def test_who_waits_too_long_for_its_inputs_has_no_more_of_them_read(
    folder: Path, body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, read, load_one = threading.Event(), [], Version.load

    def slowly(version: Version, raw: Any, where: str) -> Any:
        read.append(where)
        assert held.wait(SECONDS)
        return load_one(version, raw, where)

    monkeypatch.setattr(Version, "load", slowly)
    with serving(folder, load, timeout=0.5) as served:
        assert served.ask("/predict", {"images": body["images"] * 5})[0] == 504
        held.set()
        served.service._readers.shutdown()
    assert len(read) <= 1


def test_a_body_that_does_not_come_is_not_waited_for(folder: Path, files: list[bytes]) -> None:
    with serving(folder, load, timeout=0.2) as served:
        connection = begun(served)
        assert connection.getresponse().status == 408
        connection.close()
        assert served.service.waiting == 0
        assert len(served.answers(files[:1])) == 1


def test_who_leaves_before_its_body_is_here_is_not_waited_for(folder: Path, files: list[bytes]) -> None:
    with serving(folder, load, timeout=100 * SECONDS) as served:
        connection = begun(served)
        until(lambda: served.service.waiting == 1)
        connection.close()
        until(lambda: served.service.waiting == 0)
        assert len(served.answers(files[:1])) == 1


def test_an_input_that_cannot_be_answered_costs_no_other_its_answer(
    folder: Path, body: Any, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    answers = Version.answers

    def picky(version: Version, inputs: Any, tasks: Any, top: int, batch_size: int) -> Any:
        if top == 7:
            raise UserError("an answer is not a number")
        if top == 8:
            raise UserError("there is not enough memory to predict")
        if top == 9:
            raise RuntimeError("a fault")
        return answers(version, inputs, tasks, top, batch_size)

    monkeypatch.setattr(Version, "answers", picky)
    with serving(folder, load, wait_ms=100) as served:
        asked = [pool.submit(served.ask, f"/predict?top={top}", body) for top in (1, 2, 7, 8, 9)]
        assert statuses(asked) == [200, 200, 422, 503, 500]
        assert served.ask("/predict", body)[0] == served.ask("/health")[0] == 200


# --- The end ---------------------------------------------------------------------------------------------------


def test_when_it_is_stopped_all_that_came_is_answered(
    folder: Path, body: Any, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    with serving(folder, load, batch_size=4) as served:
        asked = waiting(served, body, pool, 12)
        stopping = pool.submit(served.stop)
        time.sleep(0.3)  # it has stopped to listen
        with pytest.raises(OSError):
            served.ask("/predict", body)
        gate.open.set()
        assert statuses(asked) == [200] * 12
        stopping.result(SECONDS)


# --- New versions ----------------------------------------------------------------------------------------------


@pytest.fixture
def growing(tmp_path: Path) -> tuple[Path, ContinualClassifier]:
    """A folder with a learner of one task, and the learner, which may learn more."""
    model = classifier(SOFT_TF, 1)
    model.save_pretrained(tmp_path / "growing")
    return tmp_path / "growing", model


def learn_and_save(model: ContinualClassifier, folder: Path) -> None:
    model.learn(task_data(model.num_tasks), progress=False)
    model.save_pretrained(folder, replace=True)


def asking(served: Served, body: Any, stop: threading.Event, found: list[tuple[int, Any]]) -> None:
    while not stop.is_set():
        found.append(served.ask("/predict?top=1000", body))


@pytest.mark.parametrize("watch", [0, 0.02])
def test_a_new_version_is_taken_up_and_no_request_is_dropped(
    growing: tuple[Path, ContinualClassifier], body: Any, pool: ThreadPoolExecutor, watch: float
) -> None:
    folder, model = growing
    with serving(folder, load, watch=watch) as served:
        first = served.service.version.name
        found: list[tuple[int, Any]] = []
        stop = threading.Event()
        clients = [pool.submit(asking, served, body, stop, found) for _ in range(3)]
        learn_and_save(model, folder)
        if not watch:
            assert served.ask("/reload", b"")[1]["tasks"] == 2
        until(lambda: served.service.version.name != first)
        asked = len(found)
        until(lambda: len(found) > asked + 6)
        stop.set()
        for client in clients:
            client.result(SECONDS)
        assert {status for status, _ in found} == {200}
        labels = {answer["version"]: len(answer["answers"][0]["probabilities"]) for _, answer in found}
        assert labels == {first: 3, served.service.version.name: 5}, "each version knows its own classes"
        assert served.ask("/ready")[1] == {"version": served.service.version.name, "tasks": 2, "refused": None}
        assert served.ask("/reload", b"")[1]["version"] == served.service.version.name, "there is no other one"


def test_what_an_old_version_began_it_ends(
    growing: tuple[Path, ContinualClassifier], body: Any, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    folder, model = growing
    with serving(folder, load) as served:
        first = served.service.version.name
        asked = waiting(served, body, pool, 4)
        until(lambda: gate.batches == 1)
        learn_and_save(model, folder)
        assert served.ask("/reload", b"")[1]["tasks"] == 2
        asked += [pool.submit(served.ask, "/predict", body) for _ in range(4)]
        until(lambda: served.service.waiting == 8)
        gate.open.set()
        versions = [future.result(SECONDS)[1]["version"] for future in asked]
        assert versions == [first] * 4 + [served.service.version.name] * 4


@pytest.mark.parametrize("watch", [0, 0.02])
def test_a_version_that_cannot_be_loaded_leaves_the_old_one_and_says_why(
    growing: tuple[Path, ContinualClassifier], body: Any, watch: float, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, model = growing
    with serving(folder, load, watch=watch) as served:
        first = served.service.version.name
        learn_and_save(model, folder)
        manifest = (folder / MANIFEST).read_bytes()
        damaged = [path for path in folder.glob("task-002*.safetensors")]
        whole = damaged[0].read_bytes()
        if watch:
            until(lambda: served.service.version.name != first)
            first = served.service.version.name
            (folder / MANIFEST).write_bytes(manifest[:-20])
            until(lambda: served.service.refused is not None)
            time.sleep(0.1)
        else:
            damaged[0].write_bytes(whole[:-4] + b"1234")
            status, found = served.ask("/reload", b"")
            assert status == 409 and damaged[0].name in found["detail"] and first in found["detail"]
        assert served.ask("/predict", body)[1]["version"] == first
        assert served.ask("/ready")[1]["refused"]
        said = capfd.readouterr().err.splitlines()
        assert len([line for line in said if "cannot be loaded" in line]) == 1, "it is told once"
        damaged[0].write_bytes(whole)
        (folder / MANIFEST).write_bytes(manifest)
        status, found = served.ask("/reload", b"")
        assert status == 200 and found["tasks"] == 2
