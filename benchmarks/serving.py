"""The service under load: real HTTP clients on this machine, in a process of their own, against direct calls."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path

import torch
from PIL import Image

from benchmarks.clients import PATIENCE, Found
from benchmarks.inference import varied_pictures
from benchmarks.results import Result, Row, Target
from benchmarks.setup import METHOD, Setup
from benchmarks.timing import in_turns
from softtf.classifier import ContinualClassifier
from softtf.streams import Examples
from softtf.training.config import TrainConfig

IMAGES = (1, 8)  # of a request
AT_LEAST = 0.85  # of the rate of direct calls
BATCH = 64
ROUND = 4  # times the images of the other groups
TASKS = 3
PER_TASK = 8
NONSENSE: tuple[tuple[str, bytes], ...] = (
    ("application/json", b""),
    ("application/json", b"{"),
    ("application/json", b"[" * 100_000),
    ("application/json", b'{"images": ["\xff"]}'),
    ("application/json", b'{"images": ["aGVsbG8="]}'),
    ("application/json", '{"texts": ["größer"]}'.encode()),
    ("application/json", b'{"images": [' + b'"",' * 10_000 + b'""]}'),
    ("application/json", b'{"images": [' + b"[]," * 5_000_000 + b"[]]}"),  # just under the largest body
    ("multipart/form-data; boundary=x", b"hello"),
    ("multipart/form-data", b"--x--"),
    ("text/plain", b"hello"),
)


@dataclass
class Served:
    """A service in a process of its own."""

    process: "subprocess.Popen[str]"
    port: int
    images: Path

    def clients(self, requests: int, connections: int, images: int, patience: float = 0.0) -> "subprocess.Popen[str]":
        """Start the clients."""
        words = [self.images, self.port, requests, connections, images, "--patience", patience]
        command = [sys.executable, "-m", "benchmarks.clients", *map(str, words)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def asked(self, requests: int, connections: int, images: int) -> Found:
        """Run the clients, and return what they saw."""
        return seen_by(self.clients(requests, connections, images))


def seen_by(clients: "subprocess.Popen[str]") -> Found:
    """Wait for clients, and return what they saw."""
    out, _ = clients.communicate(timeout=600)
    return Found(**json.loads(out))


def measure(setup: Setup) -> Iterator[Result]:
    """Measure the rate at saturation, latencies, a restart and nonsense."""
    count = setup.test_images * ROUND
    with tempfile.TemporaryDirectory() as name:
        files = image_files(count, setup.load().preparation.size)
        images, folder = Path(name) / "images", Path(name) / "learner"
        images.mkdir()
        for i, file in enumerate(files):
            (images / f"{i:04d}.png").write_bytes(file)
        model = learned(setup, folder)
        with served(folder, images, setup.device) as service:
            yield from under_load(setup, service, model, files)
            yield Target("nonsense answered by 4xx", nonsense(service.port), at_least=1)
            clients = amid_requests(service, count)
        with served(folder, images, setup.device, service.port):
            found = seen_by(clients)
    yield from across_restart(found, count)


def learned(setup: Setup, folder: Path) -> ContinualClassifier:
    """Learn some tasks of a few pictures each, and save the classifier."""
    config, learner = TrainConfig(epochs=1, batch_size=PER_TASK), replace(METHOD, feature_id=0)
    model = ContinualClassifier(setup.backbone, learner, config, device=str(setup.device))
    pictures = varied_pictures(TASKS * PER_TASK, model.learner.network.backbone.preparation.size)
    for task, some in enumerate(pictures.split(PER_TASK)):
        model.learn(Examples(list(some), [f"{task}-{i % 4}" for i in range(PER_TASK)]), progress=False)
    model.save_pretrained(folder)
    return model


def image_files(count: int, side: int) -> list[bytes]:
    """Return pictures as PNG files."""
    found = []
    for picture in varied_pictures(count, side):
        Image.fromarray(picture.numpy()).save(file := io.BytesIO(), "PNG")
        found.append(file.getvalue())
    return found


@contextmanager
def served(folder: Path, images: Path, device: torch.device, port: int = 0) -> Iterator[Served]:
    """Serve a learner in a process that is ended, and waited for, at the end."""
    options = ["--port", str(port), "--device", str(device), "--batch-size", str(BATCH), "--timeout", str(PATIENCE)]
    process = subprocess.Popen(
        [sys.executable, "-m", "softtf", "serve", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+)$", process.stdout.readline().strip())
        if found is None:
            raise RuntimeError(f"the service did not start: {process.stdout.read()}")
        yield Served(process, int(found[1]), images)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def under_load(setup: Setup, service: Served, model: ContinualClassifier, files: Sequence[bytes]) -> Iterator[Result]:
    """Compare the service with direct calls on the same files, in turns, and tell its latencies."""
    where = f"{setup.title}, {len(files)} PNG files"
    seen: dict[int, Found] = {}

    def clients(images: int) -> None:
        seen[images] = service.asked(max(1, len(files) // images), max(2, 2 * BATCH // images), images)

    calls = {str(images): lambda n=images: clients(n) for images in IMAGES}
    calls["direct"] = lambda: model.named(model.answer(list(files), batch_size=BATCH))
    for call in calls.values():
        call()  # the first one loads kernels and starts threads
    best: dict[int, float] = {}
    used: dict[int, float] = {}
    direct, used_directly = float("inf"), float("inf")
    for _ in range(setup.rounds + 1):
        for images in IMAGES:
            before = processor_seconds(service.process.pid)
            clients(images)
            assert seen[images].statuses.keys() == {"200"} and not seen[images].lost, seen[images].statuses
            best[images] = min(best.get(images, float("inf")), seen[images].seconds)
            used[images] = min(used.get(images, float("inf")), processor_seconds(service.process.pid) - before)
            start = time.process_time()
            direct = min(direct, in_turns({"": calls["direct"]}, setup.device, 0, 1)[""])
            used_directly = min(used_directly, time.process_time() - start)
    for images in IMAGES:
        yield Row(f"service, {where}, {images} a request (twin: direct calls)", best[images], direct)
    for images in IMAGES:
        name = f"service by direct calls, {where}, {images} a request"
        yield Target(name, direct / best[images], at_least=AT_LEAST)
        if used[images]:
            yield Target(f"{name}, processor seconds of both processes alone", used_directly / used[images])
        yield from latencies(f"{images} a request, saturated", seen[images])
    yield from latencies("1 a request, one client", service.asked(max(2, len(files) // 4), 1, 1))


def processor_seconds(process: int) -> float:
    """Return the seconds in user and kernel code that a process has used; 0 where the system has no /proc."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def latencies(name: str, found: Found) -> Iterator[Result]:
    """Yield the requests a second and the percentiles of their time."""
    times = sorted(found.latencies)
    yield Target(f"service, {name}: requests a second", len(times) / found.seconds)
    for percent in (50, 99):
        yield Target(
            f"service, {name}: p{percent}", 1000 * times[min(len(times) - 1, len(times) * percent // 100)], unit=" ms"
        )


def across_restart(found: Found, requests: int) -> Iterator[Result]:
    """Tell what clients saw that asked again and again while a service ended and another one started."""
    yield Target("restart: requests that got no answer", requests - found.statuses.get("200", 0), at_most=0)
    yield Target(f"restart: connections refused or closed, tried again for {PATIENCE:g} s at most", found.again)
    yield Target("restart: the longest wait of a request for its answer", max(found.latencies, default=0), unit=" s")


def nonsense(port: int) -> float:
    """Return the share of bodies of nonsense that a status from 400 to 499 answers."""
    refused = 0
    for kind, body in NONSENSE:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("POST", "/predict", body, {"Content-Type": kind})
        refused += 400 <= connection.getresponse().status < 500
        connection.close()
    return refused / len(NONSENSE)


def amid_requests(service: Served, requests: int) -> "subprocess.Popen[str]":
    """Start clients that ask again where a connection fails, and return while they ask."""
    before = answered(service.port)
    clients = service.clients(requests, 16, 1, PATIENCE)
    while answered(service.port) < before + requests // 4:
        pass
    return clients


def answered(port: int) -> float:
    """Return how many requests the service has answered."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.search(r'softtf_requests_total\{path="/predict",status="200"\} (\S+)', text)
    return float(found[1]) if found else 0.0
