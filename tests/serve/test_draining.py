"""A refusal arrives, although the body was not wanted: what clients send meanwhile is read and dropped."""

import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from softtf.serve import draining
from support.folders import load
from support.serving import JSON, SECONDS, Served, serving

LARGE = b" " * 2**24  # more than the system keeps between two sockets
TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[Served]:
    with serving(folder, load, token=TOKEN, max_body=0.1) as found:
        yield found


def asked(port: int, path: str, kind: str, token: str) -> int:
    """The status of an answer to a client that, as urllib, wants the connection to end with it."""
    headers = {"Connection": "close", "Content-Type": kind, "Authorization": f"Bearer {token}"}
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("POST", path, LARGE, headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "kind", "token", "status"),
    [
        ("/predict", JSON, TOKEN, 413),
        ("/predict", "text/plain", TOKEN, 415),
        ("/predict", JSON, "another", 401),
        ("/nowhere", JSON, TOKEN, 404),
    ],
)
def test_who_sends_a_body_that_is_refused_hears_why(
    path: str, kind: str, token: str, status: int, guarded: Served
) -> None:
    assert asked(guarded.port, path, kind, token) == status


def test_of_a_body_without_an_end_only_so_much_is_read(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "MOST", 10**6)
    with pytest.raises(OSError):
        asked(guarded.port, "/predict", JSON, TOKEN)
    assert guarded.ask("/health")[0] == 200


def test_who_asks_before_it_sends_is_answered_at_once(guarded: Served) -> None:
    asks = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
        "Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", guarded.port), SECONDS) as client:
        client.sendall(asks.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413")
