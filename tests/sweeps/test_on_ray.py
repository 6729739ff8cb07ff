"""Runs on a real Ray cluster of this machine: a worker, a node and the driver are lost, and all ends as one by one."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import call, output, results
from softtf.cli import workers as engaging
from softtf.learners.dual_prompt import DualPromptLearner
from softtf.runs.config import RunConfig
from softtf.sweeps.away import Copy, at_hand
from softtf.sweeps.file import read_sweep
from softtf.sweeps.job import Job
from softtf.sweeps.on_ray import GIB, OnRay
from softtf.sweeps.queue import Attempt
from softtf.sweeps.storage import Storage
from support.stopping import at_call, in_another_process, send
from support.sweeps import killer, sweep_file

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
small = {"object_store_memory": 8 * 10**7, "include_dashboard": False}
for left in reversed(range(3)):  # Ray gives a node 30 seconds to start, which a busy machine may not keep
    try:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=8 * 10**7)
        break
    except Exception:
        if not left:
            raise
print("at", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a cluster of a head that does no runs, and what stands for two machines of one core.

    Its workers have this environment: a fixture that changes it, such as `bucket`, comes first.
    """
    folder = tempfile.mkdtemp(prefix="ray-")  # whose path is short: sockets lie in it
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "RAY_TMPDIR": folder,
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_WAIT_POLICY": "active",  # not the command's
    }
    with (
        open("cluster", "w+") as said,
        subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=environment,
        ) as process,
    ):
        assert process.stdout is not None and process.stdin is not None
        try:
            address = next((line.split()[1] for line in process.stdout if line.startswith("at ")), None)
            assert address is not None, Path("cluster").read_text()
            yield address
        finally:
            process.stdin.close()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_killed_worker_a_killed_driver_and_a_lost_node_change_no_result(cluster: str) -> None:
    file = sweep_file(seeds=[0])
    jobs = read_sweep(file).jobs(Path("shared"))
    command = ("sweep", file, "--output", "shared", "--import", killer(times=2, node=True), "--ray", cluster)
    driver_dies = at_call(3, OnRay, "begin", send(signal.SIGKILL))  # when the killed run is begun again
    assert in_another_process(driver_dies, *command) == -signal.SIGKILL
    goes_on = "its process or machine is gone ({}); it goes on from its last full epoch"
    assert goes_on.format("WorkerCrashedError") in Path("stdout").read_text()
    assert (jobs[0].path / "checkpoint.safetensors").exists() and not jobs[0].finished
    assert in_another_process(lambda: None, *command) == 0, Path("stderr").read_text()
    assert goes_on.format("NodeDiedError") in Path("stdout").read_text()
    for job in jobs:
        assert "resumed from task" in job.path.with_name("seed-0.log").read_text() or job is not jobs[0]
        alone = Path("alone") / job.path.parent.name
        assert call("run", "--config", job.path / "config.yaml", "--output", alone) == 0
        assert results(job.path) == results(alone)


GUARD = """
import os, sys
from pathlib import Path

if "default_worker.py" in sys.argv[0]:
    HERE = Path(__file__).parent
    (HERE / "waits").write_text(os.environ["OMP_WAIT_POLICY"])

    def guard(event, args):
        if event in ("open", "os.mkdir", "os.chdir", "os.listdir", "os.scandir", "os.rename", "os.remove"):
            if any(str(HERE / "driver") in str(arg) for arg in args[:2]):
                (HERE / "touched").write_text(f"{event} {args}")

    sys.addaudithook(guard)
"""


@pytest.mark.slow
def test_runs_at_a_url_need_no_disk_of_the_driver_and_change_no_result(
    bucket: str, cluster: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(DualPromptLearner, "loss", DualPromptLearner.loss)  # `kills` is imported in this process too
    kills, guard, url = killer(times=1), Path("guard.py").absolute(), f"{bucket}/big"
    guard.write_text(GUARD)
    Path("driver").mkdir()
    monkeypatch.chdir("driver")  # and the workers' is another, as on another machine
    file = sweep_file(seeds=[0])
    jobs = read_sweep(file).jobs(at_hand(url), url)
    text = output(capsys, "sweep", file, "--output", url, "--import", guard, "--import", kills, "--ray", cluster)
    assert re.search(r"its process or machine is gone .* it goes on from its last full epoch", text)
    assert not Path("../touched").exists(), Path("../touched").read_text()
    assert Path("../waits").read_text() == "passive"
    assert "2 of 2 runs are finished" in output(capsys, "sweep", "status", url)
    for job in jobs:
        alone, sent = (Path(name) / job.path.parent.name for name in ("alone", "sent"))
        Copy(str(job.url), sent).take()
        log = Storage(str(job.url).removesuffix("/seed-0")).read("seed-0.log")
        assert b"resumed from task" in (log or b"") or job is not jobs[0]
        assert call("run", "--config", job.path / "config.yaml", "--output", alone) == 0
        assert results(job.path) == results(alone) == results(sent)


def of(memory: float | None, gpus: float | None, *machines: dict[str, float]) -> OnRay:
    """Workers on a cluster that is only described."""
    found = OnRay.__new__(OnRay)
    nodes = [{"Alive": True, "Resources": machine} for machine in machines]
    found.ray = SimpleNamespace(nodes=lambda: [*nodes, {"Alive": False, "Resources": {"memory": 2**60, "GPU": 9}}])
    found.memory, found.gpus, found.cpus = None if memory is None else int(memory * GIB), gpus, 2
    return found


def test_after_a_shortage_a_run_asks_for_more_memory_up_to_that_of_a_machine() -> None:
    attempt = Attempt(Job(RunConfig(), Path("run")))
    small, large = {"memory": 16.0 * GIB}, {"memory": 64.0 * GIB}

    def asked(memory: float | None) -> list[Any]:
        workers, found = of(memory, None, small, large), []
        for attempt.shortages in range(4):
            found.append(workers._memory(attempt))
        return [None if value is None else value / GIB for value in found]

    assert asked(None) == [None, 16, 32, 64] and asked(10) == [10, 20, 40, 64]
    attempt.shortages = 2
    assert of(None, None, small, large).ease(attempt) == " and asks for 32.0 GiB"


def test_a_run_gets_a_gpu_where_there_is_one_unless_it_wants_the_cpu() -> None:
    auto, cpu = Job(RunConfig(), Path("a")), Job(RunConfig(device="cpu"), Path("b"))
    assert [of(None, None, {"CPU": 8.0})._gpus(job) for job in (auto, cpu)] == [0, 0]
    assert [of(None, None, {"CPU": 8.0}, {"GPU": 2.0})._gpus(job) for job in (auto, cpu)] == [1, 0]
    assert of(None, 0.25, {"GPU": 2.0})._gpus(cpu) == 0.25
    assert of(None, None, {"CPU": 8.0}, {"CPU": 3.0}, {}).at_once == 5


def test_without_ray_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(engaging, "find_spec", lambda name: None)
    assert call("sweep", sweep_file(), "--ray") == 2
    assert capsys.readouterr().err == "softtf: error: --ray needs Ray; install it by pip install 'softtf[ray]'\n"
