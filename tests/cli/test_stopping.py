"""A signal stops a command as Ctrl-C does: all that was finished is whole, one line says how to go on."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import softtf
from cli import call, results
from softtf.evaluation import scorer
from softtf.files import tensors as store
from softtf.files.lock import NAME
from softtf.learners.dual_prompt import DualPromptLearner
from softtf.runs import learn as learning
from softtf.runs.folder import RunFolder
from softtf.streams import loader as loader_module
from softtf.sweeps import work
from support.stopping import RUN, STEPS, at_call, go_on, in_another_process, send, wait_for
from support.tables import TABLE

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("runs") / "whole"
    assert call(*RUN, "--output", path) == 0
    return results(path)


def was_stopped(whole: dict[str, bytes], capsys: Capture) -> None:
    """Check what a stopped command said and left, and go on with its run."""
    assert Path("stderr").read_text() == "softtf: stopped\n"
    assert Path("stdout").read_text().count("Go on with: softtf resume new") == 1
    assert not list(Path("new").rglob("*.tmp")) and not (Path("new") / NAME).exists()
    go_on(Path("new"), capsys, whole)


def between_bytes(number: int, act: Callable[[], object]) -> Callable[[], None]:
    """Prepare a process to `act` while its `number`-th file is written, before it is whole."""
    return at_call(number, store.os, "fsync", act)


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_each_signal_has_its_exit_code(number: signal.Signals, whole: dict[str, bytes], capsys: Capture) -> None:
    stop = at_call(STEPS + 2, DualPromptLearner, "loss", send(number))
    assert in_another_process(stop, *RUN, "--output", "new") == CODES[number]
    was_stopped(whole, capsys)


@pytest.mark.parametrize(
    "stop",
    [
        at_call(1, scorer, "evaluate", send(signal.SIGTERM)),
        at_call(1, learning, "write_results", send(signal.SIGTERM)),
        *(between_bytes(number, send(signal.SIGTERM)) for number in range(9, 27, 6)),
    ],
)
def test_sigterm_in_scoring_and_in_saving(stop: Callable[[], None], whole: dict[str, bytes], capsys: Capture) -> None:
    assert in_another_process(stop, *RUN, "--output", "new") == 143
    was_stopped(whole, capsys)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_while_the_first_is_obeyed(
    second: signal.Signals, whole: dict[str, bytes], capsys: Capture
) -> None:
    def stop() -> None:
        at_call(1, RunFolder, "unlock", send(second))()  # which the first one leads to
        at_call(STEPS + 2, DualPromptLearner, "loss", lambda: [send(signal.SIGTERM)(), send(second)()])()

    assert in_another_process(stop, *RUN, "--output", "new") == 143
    was_stopped(whole, capsys)


def test_a_signal_that_a_destructor_swallowed_is_not_the_last(whole: dict[str, bytes], capsys: Capture) -> None:
    class Swallows:
        def __del__(self) -> None:
            send(signal.SIGTERM)()

    def stop() -> None:
        sys.unraisablehook = lambda _: None
        at_call(STEPS + 2, DualPromptLearner, "loss", lambda: [Swallows(), None].pop() or None)()
        at_call(STEPS + 3, DualPromptLearner, "loss", send(signal.SIGTERM))()

    assert in_another_process(stop, *RUN, "--output", "new") == 143
    was_stopped(whole, capsys)


@pytest.mark.parametrize("all_of_them", [False, True])
def test_sigterm_while_worker_processes_are_waited_for(all_of_them: bool, capsys: Capture) -> None:
    def workers_that_wait() -> None:
        os.setpgid(0, 0)
        loader_module.Loader.__init__.__defaults__ = (2**30, 2)  # workers
        loader_module.Rows.__getitem__ = lambda self, row: (Path("there").touch(), wait_for(Path("never")))  # type: ignore
        Path("main").write_text(str(os.getpid()))

    pid = os.fork()
    if pid == 0:
        os._exit(in_another_process(workers_that_wait, *RUN, "--output", "new"))
    wait_for(Path("there"))
    (os.killpg if all_of_them else os.kill)(int(Path("main").read_text()), signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 143
    assert Path("stderr").read_text() == "softtf: stopped\n"
    assert "softtf resume new" in Path("stdout").read_text()


def test_a_table_that_is_stopped_says_how_to_go_on() -> None:
    stop = at_call(1, work, "learn_stream", send(signal.SIGTERM))
    assert in_another_process(stop, *TABLE) == 143
    assert "The same command goes on from there." in Path("stdout").read_text()
    assert Path("stderr").read_text() == "softtf: stopped\n"


def test_predict_and_evaluate_are_stopped_in_one_line(finished: Path) -> None:
    import softtf.evaluation.evaluate as evaluation
    import softtf.inference.predict as prediction

    image = Path("digit.png")
    from PIL import Image

    Image.new("L", (8, 8)).save(image)
    for owner, args in ((prediction, ("predict", finished, image)), (evaluation, ("evaluate", finished))):
        stop = at_call(1, owner, "answer", send(signal.SIGTERM))
        assert in_another_process(stop, *args) == 143
        assert Path("stderr").read_text() == "softtf: stopped\n"


def test_what_the_caller_does_with_signals_is_as_it_was_and_other_threads_change_nothing() -> None:
    before = [signal.getsignal(number) for number in CODES]
    assert call("list", "recipes") == 0
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(call("list", "recipes")))
    thread.start()
    thread.join()
    assert codes == [0] and before == [signal.getsignal(number) for number in CODES]


def test_an_ignored_signal_stays_ignored() -> None:
    def stop() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        at_call(2, DualPromptLearner, "loss", send(signal.SIGHUP))()

    assert in_another_process(stop, *RUN, "--output", "new") == 0


def test_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "softtf", *map(str, RUN), "--train.epochs", "60", "--output", "new"]
    place = {**os.environ, "PYTHONPATH": str(Path(softtf.__file__).parents[1])}
    process = subprocess.Popen(command, env=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(Path("new/checkpoint.safetensors"))
    process.terminate()
    out, errors = process.communicate()
    assert process.returncode == 143 and errors == "softtf: stopped\n"
    assert "Go on with: softtf resume new" in out
    assert call("resume", "new") == 0
