"""A run reads each file of its learner a fixed number of times, however many tasks there are."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cli import TINY, call, results, unfinish
from softtf.saving import loading

FIVE = (*TINY, "--stream.num-tasks", "5")


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each file of tensors is read, in a folder with a finished run of five tasks."""
    monkeypatch.chdir(tmp_path)
    assert call(*FIVE, "--output", "run") == 0
    counts, true_load = Counter[str](), loading.load_tensors

    def load(path: Path, sha256: str) -> dict[str, torch.Tensor]:
        counts[path.name] += 1
        return true_load(path, sha256)

    monkeypatch.setattr(loading, "load_tensors", load)
    return counts


def tasks(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if name.startswith("task-")}


@pytest.mark.slow
def test_scoring_a_finished_run_again_reads_each_task_once(reads: Counter[str]) -> None:
    assert call("evaluate", "run", "--policy", "oracle") == 0
    assert tasks(reads) == {f"task-{number:03d}.safetensors": 1 for number in range(1, 6)}
    assert all(reads[f"shared-{number:03d}.safetensors"] == 1 for number in range(1, 5))
    assert reads["shared-005.safetensors"] == 2  # as the last one it is loaded with the learner too


@pytest.mark.slow
@pytest.mark.parametrize("lost", [(5,), (1, 2, 4), (1, 2, 3, 4, 5)])
def test_scores_that_were_lost_are_found_again_with_few_reads(lost: tuple[int, ...], reads: Counter[str]) -> None:
    before = results(Path("run"))
    for number in lost:
        Path(f"run/accuracy/after-{number:03d}.json").unlink()
    unfinish(Path("run"))
    assert call("resume", "run") == 0
    assert results(Path("run")) == before
    assert set(tasks(reads).values()) == {1 if lost == (5,) else 2}
