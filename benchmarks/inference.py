"""Prediction at T tasks: each policy alone, all in one pass, and the twin's pass for each."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks import floors
from benchmarks.results import Result, Row, Target
from benchmarks.setup import Added, Setup, learner_with
from benchmarks.timing import in_turns, matrix_rate
from benchmarks.twin import NaiveTwin, twin_of
from softtf.backbones import Backbone
from softtf.backbones.features import FixedQueries
from softtf.config.names import PAPER_BATCH
from softtf.devices.device import matmul_dtype
from softtf.evaluation.evaluate import evaluate
from softtf.evaluation.test_data import TestData
from softtf.inference.policy import Policy
from softtf.inference.predict import predict, test_loader
from softtf.learners import Learner
from softtf.network import SharedPass
from softtf.streams import Examples

POLICIES = {"Prompt ID": Policy("prompt-id"), "Gradient ID": Policy("gradient-id"), "oracle": Policy("oracle")}
ALL = "all three"
AT_MOST = {10: 0.9, 50: 1.0}  # Gradient ID's time by Prompt ID's


def measure(setup: Setup) -> Iterator[Result]:
    """Measure each precision at each number of tasks."""
    backbone = setup.load()
    pictures = varied_pictures(setup.test_images, backbone.preparation.size)
    for tasks in setup.tasks:
        learner = learner_with(backbone, tasks, spreading(backbone, pictures))
        data = one_tasks_test(learner, pictures)
        naive = twin_of(learner).requires_grad_(False)
        for precision in dict.fromkeys(matmul_dtype(p, setup.device) for p in setup.precisions):
            yield from compare(setup, learner, naive, data, precision)


def compare(setup: Setup, learner: Learner, naive: NaiveTwin, data: TestData, dtype: torch.dtype) -> Iterator[Result]:
    """Measure every policy, ours and the twin's, in turns."""
    tasks, images = learner.num_tasks, len(data.labels)
    named = {name: tasks_named(learner, data, policy, dtype) for name, policy in POLICIES.items()}
    groups = {name: len(chosen.unique()) for name, chosen in named.items()}
    tops = sum(len(set(row)) for row in torch.stack(list(named.values()), 1).tolist()) / images

    known = replace(data, queries=FixedQueries(learner.network.backbone, data.loader))

    def ours(*policies: Policy, on: TestData = data) -> Callable[[], object]:
        return lambda: evaluate(learner, on, torch.arange(learner.num_classes), policies, dtype=dtype)

    batches = torch.cat(list(data.loader.batches())).split(PAPER_BATCH)
    passes = {
        "Prompt ID": lambda: [naive.prompt_id(b) for b in batches],
        "Gradient ID": lambda: [naive.gradient_id(b) for b in batches],
        "oracle": lambda: [naive.oracle(b, 0) for b in batches],
    }
    calls = {name: ours(policy) for name, policy in POLICIES.items()} | {ALL: ours(*POLICIES.values())}
    calls[f"known {ALL}"] = ours(*POLICIES.values(), on=known)
    calls["known Prompt ID"] = ours(POLICIES["Prompt ID"], on=known)
    calls["known Prompt ID"]()  # computes them
    if setup.gpu or not setup.papers or tasks == min(setup.tasks):  # else minutes on a CPU, to show the same again
        calls |= {f"twin {name}": call for name, call in passes.items()}
    times = in_turns(calls, setup.device, setup.seconds, setup.rounds)
    if "twin oracle" in times:
        times[f"twin {ALL}"] = sum(times[f"twin {name}"] for name in passes)  # a pass for each is what it does
    times["known Gradient ID"] = times["Gradient ID"]  # reads no query
    shape, rate = floors.shape_of(learner), matrix_rate(dtype, setup.device)
    counts = {
        "Prompt ID": floors.prompt_id(shape),
        "Gradient ID": floors.gradient_id(shape, tasks),
        "oracle": floors.oracle(shape),
        ALL: floors.all_policies(shape, tasks, tops),
    }
    where = f"{setup.title}, T = {tasks}, {str(dtype).removeprefix('torch.')}"
    for name, count in counts.items():
        also = f"{tops:.1f} tasks an image" if name == ALL else f"{groups[name]} tasks named"
        row = f"{name}, {where}, {images} images, {also}"
        yield Row(row, times[name], times.get(f"twin {name}"), images * count / rate)
    ratio = times["Gradient ID"] / times["Prompt ID"]
    yield Target(f"{where}: Gradient ID by Prompt ID", ratio, at_most=AT_MOST.get(tasks))
    query = floors.prompt_id(shape) - floors.oracle(shape)
    for prefix, saved, how in (("", 0, "on fresh images"), ("known ", query, "queries known, as in a run")):
        least = {n: counts[n] - (saved if n == "Prompt ID" else 0) for n in POLICIES}
        dearest = max(POLICIES, key=lambda n, p=prefix: times.get(p + n, 0))
        floor = (counts[ALL] - saved) / max(least.values())
        ratio = times[prefix + ALL] / times[prefix + dearest]
        yield Target(f"{where}: all three by the dearest ({dearest}; floor {floor:.2f}), {how}", ratio, at_most=1.3)


def one_tasks_test(learner: Learner, pictures: Tensor) -> TestData:
    """Return images that are all the first task's test set, as evaluation meets them."""
    examples = Examples(list(pictures), [0] * len(pictures), "pictures")
    zeros = torch.zeros(len(pictures), dtype=torch.int64)
    return TestData(test_loader(examples, learner.network.backbone, 120), zeros, zeros)


def tasks_named(learner: Learner, data: TestData, policy: Policy, dtype: torch.dtype) -> Tensor:
    """Return the task [images] that a policy names."""
    given = 0 if policy.inference == "oracle" else None
    return predict(learner, data.loader, policy, task=given, dtype=dtype).tasks


def varied_pictures(count: int, side: int) -> Tensor:
    """Return images uint8 [count, side, side, 3] of one to 64 patches of colour."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.randint(0, 256, (count, 8, 8, 3), dtype=torch.uint8, generator=generator)
    colours[::2] = colours[::2, :1, :1]
    whole = -(-side // 8)
    return colours.repeat_interleave(whole, 1).repeat_interleave(whole, 2)[:, :side, :side]


def spreading(backbone: Backbone, pictures: Tensor) -> Added:
    """Return what turns a task's key and head away from what all pictures have in common.

    Untrained keys and heads name one task for every image; of a learned stream's test images many tasks are named in
    every batch, and each costs a top of its own. Task t's key becomes picture t's own direction.
    """
    some = pictures[:64]
    inputs = backbone.preparation.batch(list(some.permute(0, 3, 1, 2)), next(backbone.parameters()).device)
    query = SharedPass(learner_with(backbone, 0).network, inputs).query
    mean = query.mean(0)

    def without_mean(x: Tensor) -> Tensor:
        return x - (x @ mean)[:, None] * mean / (mean @ mean)

    own = without_mean(query - mean)

    def spread(learner: Learner, task: int) -> None:
        key = learner.keys.slot(task)["key"]
        key.copy_(own[task % len(own)])
        weight = learner.network.heads.slot(task)["weight"]
        weight.copy_(10 * without_mean(weight))

    return spread
