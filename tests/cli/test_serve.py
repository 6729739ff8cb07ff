"""`softtf serve` as a user meets it."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest

from cli import refused
from softtf.cli import serve
from softtf.serve.token import VARIABLE
from support.serving import SECONDS, form

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere"], "nowhere"),
        ([".", "--wait-ms", "-1"], "wait_ms must be"),
        ([".", "--batch-size", "0"], "batch_size must be"),
        ([".", "--max-pixels", "999999999"], "max_pixels must be"),
        ([".", "--max-body", "inf"], "max_body must be"),
        ([".", "--timeout", "inf"], "timeout must be"),
        ([".", "--watch", "-1"], "watch must be"),
        ([".", "--port", "99999"], "give another --host or --port"),
        ([".", "--host", "1.2.3.4"], "give another --host or --port"),
        ([".", "--token-file", "none"], "none cannot be read"),
        ([".", "--token", "0123456789abcdef"], "--token"),
    ],
)
def test_what_cannot_be_served_is_refused(options: list[str], words: str, capsys: Capture) -> None:
    assert words in refused(capsys, "serve", *options)


def test_a_port_in_use_is_refused(capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"port {port}" in refused(capsys, "serve", ".", "--port", port)


def test_a_missing_extra_is_named(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "NEEDED", ("fastapi", "no_such_package"))
    message = refused(capsys, "serve", ".")
    assert "no_such_package" in message and "softtf[serve]" in message


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_it_once_all_is_answered(
    number: signal.Signals, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was accepted is answered; the token is in the environment only."""
    token = "0123456789abcdef"
    environment = os.environ | {VARIABLE: token, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "softtf", "serve", str(run), "--port", "0", "--device", "cpu", "--wait-ms", "20"]
    before = signal.signal(number, signal.SIG_DFL)  # under nohup it is ignored, and a service inherits that
    service = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    signal.signal(number, before)
    try:
        assert service.stdout is not None
        first = service.stdout.readline()
        found = re.fullmatch(r"softtf: version [0-9a-f]{12} of 2 tasks answers at http://127.0.0.1:(\d+)\n", first)
        assert found, (first, service.communicate())
        body, kind = form([(Path(__file__).parents[2] / "docs/report.png").read_bytes()])
        headers = {"Content-Type": kind, "Authorization": f"Bearer {token}"}
        broken = HTTPConnection("127.0.0.1", int(found[1]), timeout=SECONDS)
        broken.request("POST", "/predict", b"x" + body, headers)
        assert broken.getresponse().status == 400  # and nothing is said of it below
        broken.close()
        answered, lost, stopped = [0], [0], threading.Event()

        def client(_: int) -> None:
            while answered[0] < 10_000:
                connection = HTTPConnection("127.0.0.1", int(found[1]), timeout=SECONDS)
                try:
                    connection.connect()
                except OSError:
                    return  # refused, once it has stopped to listen
                try:
                    connection.request("POST", "/predict", body, headers)
                    assert connection.getresponse().status == 200
                    answered[0] += 1
                except OSError:
                    lost[0] += not stopped.is_set()  # accepted by the system, after it had stopped to accept
                if answered[0] > 20 and not stopped.is_set():
                    stopped.set()
                    service.send_signal(number)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(client, range(4)))
        out, error = service.communicate(timeout=SECONDS)
        assert service.returncode == 0 and error.count("\n") == 2 and "random, as asked for" in error, error
        assert out == "softtf: all requests are answered; stopped\n"
        assert answered[0] > 20 and not lost[0]
    finally:
        service.kill()
        service.communicate()
