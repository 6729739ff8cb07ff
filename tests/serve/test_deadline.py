"""Whatever a client sends half of, and however slowly: its connection ends, or is answered, by one deadline."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from softtf.serve.deadline import Punctual, deadline_of
from softtf.serve.draining import Draining
from support.folders import load
from support.serving import SECONDS, Served, serving

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"POST /predict HTTP/1.1\r\nHost: x\r\nX-A: "
LONG = 1000.0 * SECONDS


@pytest.fixture(scope="module")
def hasty(folder: Path) -> Iterator[Served]:
    with serving(folder, load, timeout=1.0) as found:
        yield found


def read_to_the_end(client: socket.socket) -> bytes:
    found = b""
    while part := client.recv(1000):  # or it raises after SECONDS
        found += part
    return found


@pytest.mark.parametrize("sent", [b"", b"G", HALF, HALF + b"1\r\n"])
def test_a_request_whose_headers_do_not_come_is_not_waited_for(hasty: Served, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), SECONDS) as client:
        client.sendall(sent)
        assert read_to_the_end(client) == b""
    assert hasty.ask("/health")[0] == 200


def test_nor_is_the_second_one_of_a_connection(hasty: Served) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), SECONDS) as client:
        client.sendall(HEALTH)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        client.sendall(HALF)
        assert b"HTTP" not in read_to_the_end(client)


def test_requests_may_share_a_connection_and_come_in_parts(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), SECONDS) as client:
        client.sendall(HEALTH + HEALTH + HEALTH[:20])
        found = b""
        while found.count(b"HTTP/1.1 200") < 2:
            found += client.recv(1000)
        client.sendall(HEALTH[20:-4])
        client.sendall(HEALTH[-4:].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert (found + read_to_the_end(client)).count(b"HTTP/1.1 200") == 3


def test_who_does_not_read_its_answers_does_not_hold_up_the_end(folder: Path) -> None:
    with (
        serving(folder, load, timeout=0.5) as served,
        socket.create_connection(("127.0.0.1", served.port), SECONDS) as client,
    ):
        client.settimeout(1)
        with suppress(TimeoutError):
            while True:  # until the service takes no more, as it cannot get rid of its answers
                client.send(HEALTH.replace(b"health", b"openapi.json") * 1000)
        served.stop()


class Transport(asyncio.Transport):
    """A connection that takes what is written."""

    def write(self, data: Any) -> None:
        pass

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False


def test_the_time_counts_from_the_first_byte_of_each_request() -> None:
    async def run() -> None:
        deadlines: asyncio.Queue[float] = asyncio.Queue()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await deadlines.put(deadline_of(scope, Punctual.timeout))
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

        loop = asyncio.get_running_loop()
        connection = Punctual(uvicorn.Config(app, lifespan="off"), ServerState(), {}, loop)
        connection.connection_made(Transport())
        for _ in range(3):
            await asyncio.sleep(0.01)
            before = loop.time()
            connection.data_received(HEALTH[:9])
            after = loop.time()
            await asyncio.sleep(0.01)
            connection.data_received(HEALTH[9:])
            assert before <= await deadlines.get() - Punctual.timeout <= after
            await asyncio.sleep(0)

    asyncio.run(run())


def test_what_is_left_of_a_body_is_read_until_the_same_deadline() -> None:
    """The application has used up the time; then nothing is left to drain a body that does not come."""

    async def run() -> None:
        sent: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 408})

        async def never() -> Any:
            await asyncio.sleep(LONG)

        async def send(message: Any) -> None:
            sent.append(message["status"])

        headers = [(b"content-length", b"9")]
        scope = {"type": "http", "headers": headers, "state": {"deadline": asyncio.get_running_loop().time()}}
        await asyncio.wait_for(Draining(app, LONG)(scope, never, send), SECONDS)
        assert sent == [408]

    asyncio.run(run())
