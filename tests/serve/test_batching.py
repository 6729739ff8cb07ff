"""Which requests share a pass, and that each gets its own answers."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softtf.classifier import ContinualClassifier
from softtf.serve.batching import Batcher, Job
from softtf.serve.limits import Limits
from softtf.serve.version import Version, load_version
from support.folders import load


@pytest.fixture(scope="module")
def version(folder: Path) -> Version:
    return load_version(folder, load)


def batches_of(
    jobs: Callable[[], list[Job]], patch: pytest.MonkeyPatch, **limits: Any
) -> tuple[list[tuple[int, Any]], list[Any]]:
    """The size and the tasks of each pass that answers the jobs, and each job's answers."""
    seen: list[tuple[int, Any]] = []
    true = Version.answers

    def answers(version: Version, inputs: Any, tasks: Any, *args: Any) -> Any:
        seen.append((len(inputs), tasks))
        return true(version, inputs, tasks, *args)

    patch.setattr(Version, "answers", answers)

    async def run() -> list[Any]:
        batcher = Batcher(Limits(**limits), lambda inputs, seconds: None)
        asked = [asyncio.create_task(batcher.answer(job)) for job in jobs()]
        running = asyncio.create_task(batcher.run())
        found = await asyncio.gather(*asked)
        running.cancel()
        return list(found)

    return seen, asyncio.run(run())


def test_given_tasks_share_a_pass_whatever_they_are(
    version: Version, model: ContinualClassifier, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [version.load(file, "image") for file in files]
    tasks = [None, 0, 2, None, 1]

    def jobs() -> list[Job]:
        return [Job(version, inputs[2 * i : 2 * i + 2], task, top=i + 1) for i, task in enumerate(tasks)]

    seen, found = batches_of(jobs, monkeypatch)
    assert seen == [(4, None), (6, [0, 0, 2, 2, 1, 1])]
    for i, (task, answers) in enumerate(zip(tasks, found, strict=True)):
        wanted = model.named(model.answer(files[2 * i : 2 * i + 2], task=task))
        assert [(a.label, a.task) for a in answers] == [(label, named) for label, _, named in wanted]
        assert [a.confidence for a in answers] == pytest.approx([p for _, p, _ in wanted], abs=1e-5)
        assert {len(a.probabilities) for a in answers} == {i + 1}


def test_a_batch_is_no_larger_than_asked_but_for_one_request(
    version: Version, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [version.load(file, "image") for file in files]
    sizes = [2, 3, 1, 7, 1]
    seen, found = batches_of(lambda: [Job(version, inputs[:n]) for n in sizes], monkeypatch, batch_size=4)
    assert [size for size, _ in seen] == [4, 3, 7]  # 2 with 1 and 1, 3, and the one of 7 alone
    assert [len(answers) for answers in found] == sizes


def test_versions_share_no_pass(version: Version, files: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    other = Version(version.model, "another")
    inputs = [version.load(files[0], "image")]
    seen, _ = batches_of(lambda: [Job(one, inputs) for one in (version, other, version)], monkeypatch)
    assert [size for size, _ in seen] == [2, 1]
