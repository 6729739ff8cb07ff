"""`python -m benchmarks.clients`: HTTP clients that ask a service on this machine; the load test runs it as a process.

It imports nothing but Python's own library, so that the clients cost little beside the service.
"""

import argparse
import base64
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Lock

PATIENCE = 120.0  # seconds in which a client asks again after the service refused a connection, or closed it


@dataclass
class Found:
    """What the clients saw.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: of each request that was answered, in seconds.
        statuses: how many answers had each status.
        again: connections that were refused, or closed before an answer; then the client asked again.
        lost: requests that never got an answer.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    again: int = 0
    lost: int = 0


def ask(port: int, bodies: list[bytes], requests: int, connections: int, patience: float = 0.0) -> Found:
    """Send `requests` requests over so many connections at once, body after body."""
    found, lock = Found(), Lock()
    numbers = iter(range(requests))

    def next_number() -> int | None:
        with lock:
            return next(numbers, None)

    def client(_: int) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        while (number := next_number()) is not None:
            start = time.perf_counter()
            while True:
                try:
                    connection.request(
                        "POST", "/predict?top=1", bodies[number % len(bodies)], {"Content-Type": "application/json"}
                    )
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, HTTPException):
                    connection.close()
                    with lock:
                        found.again += 1
                    if time.perf_counter() - start > patience:
                        with lock:
                            found.lost += 1
                        break
                    time.sleep(0.05)
                    continue
                with lock:
                    found.latencies.append(time.perf_counter() - start)
                    found.statuses[str(answer.status)] = found.statuses.get(str(answer.status), 0) + 1
                break
        connection.close()

    start = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(client, range(connections)))
    found.seconds = time.perf_counter() - start
    return found


def bodies_of(files: list[bytes], images: int) -> list[bytes]:
    """Return the bodies of requests with so many images each."""
    texts = [base64.b64encode(file).decode() for file in files]
    groups = [[texts[(i + j) % len(texts)] for j in range(images)] for i in range(0, len(texts), images)]
    return [json.dumps({"images": group}).encode() for group in groups]


def main(args: list[str]) -> None:
    """Ask, and print what was found as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="of the images")
    for name in ("port", "requests", "connections", "images"):
        parser.add_argument(name, type=int)
    parser.add_argument("--patience", type=float, default=0.0)
    given = parser.parse_args(args)
    bodies = bodies_of([file.read_bytes() for file in sorted(given.folder.iterdir())], given.images)
    print(json.dumps(asdict(ask(given.port, bodies, given.requests, given.connections, given.patience))))


if __name__ == "__main__":
    main(sys.argv[1:])
