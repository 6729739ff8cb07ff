"""`python -m benchmarks.stream OMNIGLOT CIFAR100 FOLDER`: learn 1,000 real tasks, and measure what T of them cost.

Tasks of two classes: Omniglot's 1,623 characters, then CIFAR-100's 100 classes, drawn anew in another order as often as
needed, each time under labels of their own. The two folders hold parquet files (docs/data.md). The bundled ViT learns
them by `soft-tf` and by `dual-prompt+soft-tf` with masks in the last two blocks.

FOLDER gets a line of JSON for each task and each measurement; the learner is saved, and measured, after 10, 100, 300
and 1,000 tasks. The same command goes on after the last save. Times are processor seconds of one thread.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.tasks import bytes_in_memory
from benchmarks.timing import peak_bytes
from softtf import BlockRidge, ContinualClassifier, DualPrompt, Examples, SoftMask, TrainConfig, load_source

TASKS, MARKS, LIMIT = 1000, (10, 100, 300, 1000), "50MB"
TRAIN, TEST, ASKED = 8, 2, 96  # examples of each class, at most; test examples that are answered at a mark
METHODS = {  # with how each task is trained, and examples of each class
    "soft-tf": (BlockRidge(1000, sums="one"), None, TRAIN),
    "dual-prompt+soft-tf": (
        DualPrompt(
            g_layers="1",
            e_layers="11-12",
            key_scale=0.1,
            adapt=SoftMask("11-12"),
            freeze_g_after_first=True,
            feature_id=300,
            sums="one",
        ),
        TrainConfig(epochs=1, batch_size=4, learning_rate=0.3, augment=False),
        4,
    ),
}
POLICIES = {
    "soft-tf": ("none",),
    "dual-prompt+soft-tf": (
        "oracle",
        "prompt-id",
        "gradient-id",
        "gradient-id:top16",
        "gradient-id:top64",
        "feature-id:joint",
        "feature-id:top16:joint",
        "feature-id:top64:joint",
    ),
}
Pair = tuple[Examples, Examples]


class Notes:
    """A file with a line of JSON for each thing that was found."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def add(self, **found: object) -> None:
        """Add a line."""
        with self.file.open("a", encoding="utf-8") as file:
            print(json.dumps(found), file=file)

    def forget(self, method: str, tasks: int) -> None:
        """Drop what is found again: all after so many tasks of a method, and what was measured there."""
        lines = [json.loads(line) for line in self.file.read_text().splitlines() if line.endswith("}")]
        self.file.write_text("")
        for line in lines:
            again = line["tasks"] > tasks or (line["tasks"] == tasks and line["what"] != "learn")
            if line["method"] != method or not again:
                self.add(**line)


def tasks_of(omniglot: Path, cifar100: Path) -> Iterator[Pair]:
    """Yield training and test examples of each task: all characters first, then classes of photos, again and again."""
    drawings = Examples.concatenate([one for one in load_source(omniglot, "all") if one is not None])
    yield from in_pairs(drawings, 0, "omniglot")
    photos = load_source(cifar100)[0]
    seed = 0
    while True:
        yield from in_pairs(photos, seed, f"cifar100 {seed}")
        seed += 1


def in_pairs(examples: Examples, seed: int, name: str) -> Iterator[Pair]:
    """Yield the tasks of two classes each; the seed gives the order of the classes and draws their examples."""
    generator = torch.Generator().manual_seed(seed)
    members = examples.members()
    order = torch.randperm(len(members), generator=generator).tolist()
    for first, second in zip(order[::2], order[1::2], strict=False):
        train, test = list[int](), list[int]()
        for label in (first, second):
            drawn = torch.randperm(len(members[label]), generator=generator)[: TRAIN + TEST].tolist()
            chosen = [members[label][i] for i in drawn]
            train += chosen[:TRAIN]
            test += chosen[TRAIN:]
        yield tuple(named(examples.select(part), name) for part in (train, test))  # type: ignore[misc]


def named(examples: Examples, name: str) -> Examples:
    """Return the examples with labels that say where they are from."""
    return examples.with_labels([f"{name}: {label}" for label in examples.labels])


def learned(method: str, tasks: Sequence[Pair], folder: Path, notes: Notes) -> None:
    """Learn all tasks by a method, from the last save on; note what each cost, and measure at the marks."""
    spec, train, examples = METHODS[method]
    at = folder / method
    if at.exists():
        model = ContinualClassifier.from_pretrained(at, device="cpu")
        notes.forget(method, model.num_tasks)
    else:
        model = ContinualClassifier("vit_tiny_patch8_64", spec, train, device="cpu")
    for number in range(model.num_tasks, len(tasks) + 1):
        if number in MARKS:
            model.save_pretrained(at, replace=True)
            for found in measured(method, model, at, tasks[:number]):
                notes.add(method=method, tasks=number, **found)
        if number < len(tasks):
            seconds, _ = timed(lambda n=number: model.learn(tasks[n][0].per_class(examples, 0), progress=False))
            notes.add(method=method, tasks=number + 1, what="learn", seconds=seconds)


def measured(method: str, model: ContinualClassifier, at: Path, tasks: Sequence[Pair]) -> Iterator[dict[str, Any]]:
    """Yield what the tasks learned so far cost on disk, in memory and in time, and what each policy answers."""
    files = [file for file in at.rglob("*") if file.is_file()]
    yield {"what": "disk", "bytes": sum(file.stat().st_size for file in files), "files": len(files)}
    inputs, labels, owners = asked(tasks)
    shortest = POLICIES[method][-1]

    def bytes_used(model: ContinualClassifier) -> int:
        """Return what the learner holds, and the peak of an answer to eight inputs beyond that."""
        peak = peak_bytes(lambda: model.answer(inputs[:8], inference=shortest), model.device)
        return bytes_in_memory(model.learner) + peak

    yield {"what": "memory", "bytes": bytes_used(model)}
    limited = ContinualClassifier.from_pretrained(at, device="cpu", memory_limit=LIMIT)
    yield {"what": f"memory, {LIMIT} of masks", "bytes": bytes_used(limited)}
    if shortest != "none":
        seconds, _ = timed(lambda: limited.answer(inputs, inference=shortest, batch_size=32))
        yield {"what": f"answer, {LIMIT} of masks", "policy": shortest, "seconds": seconds / len(inputs)}
    full = dict[str, tuple[list[int], list[Any]]]()
    for policy in POLICIES[method]:
        given = owners if policy == "oracle" else None
        model.answer(inputs[:2], inference=policy, task=given and given[:2])  # what all batches share is made once
        seconds, answers = timed(lambda p=policy, g=given: model.answer(inputs, inference=p, batch_size=32, task=g))
        named_tasks, named_labels = answers.tasks.tolist(), [label for label, _, _ in model.named(answers)]
        among_all = full.setdefault(policy.replace(":top16", "").replace(":top64", ""), (named_tasks, named_labels))
        yield {
            "what": "answer",
            "policy": policy,
            "seconds": seconds / len(inputs),
            "right": share(named_labels, labels),
            "right_task": share(named_tasks, owners),
            "same_task_as_among_all": share(named_tasks, among_all[0]),
            "same_label_as_among_all": share(named_labels, among_all[1]),
        }


def asked(tasks: Sequence[Pair]) -> tuple[list[Any], list[Any], list[int]]:
    """Return inputs, labels and tasks of test examples, of as many tasks as there are, evenly."""
    every = [(test[i], test.labels[i], owner) for owner, (_, test) in enumerate(tasks) for i in range(len(test))]
    step = max(1, len(every) / ASKED)
    chosen = [every[int(i * step)] for i in range(min(ASKED, len(every)))]
    inputs, labels, owners = (list(column) for column in zip(*chosen, strict=True))
    return inputs, labels, owners


def share(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """Return how much of two lists is equal."""
    return sum(a == b for a, b in zip(found, expected, strict=True)) / len(found)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return processor seconds of a call, and what it returns."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def main(args: list[str]) -> None:
    """Learn, measure, and write down."""
    parser = argparse.ArgumentParser()
    parser.add_argument("omniglot", type=Path)
    parser.add_argument("cifar100", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", type=int, default=TASKS)
    given = parser.parse_args(args)
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    source = tasks_of(given.omniglot, given.cifar100)
    tasks = [next(source) for _ in range(given.tasks)]
    for method in METHODS:
        learned(method, tasks, given.folder, Notes(given.folder / "stream.jsonl"))


if __name__ == "__main__":
    main(sys.argv[1:])
