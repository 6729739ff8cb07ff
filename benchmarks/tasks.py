"""What T tasks cost, up to 10,000 of simulated slots: to learn one more, to answer a sample, in memory and on disk.

The backbone is small and has random weights, so that what grows with T shows beside what does not. The slots of T tasks
are copies of a few that were opened as usual; the statistics are fitted to random features, one sum over all tasks.
Times are processor seconds, the least of three calls, on one thread; they say something on a machine that others use,
too.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.growth import bytes_held
from benchmarks.inference import varied_pictures
from benchmarks.results import Result, Row, Target
from benchmarks.setup import Setup
from benchmarks.timing import peak_bytes
from softtf.adaptations import SoftMask
from softtf.adaptations.quantised import LargeAdaptation
from softtf.backbones import BackboneSpec
from softtf.classifier import ContinualClassifier
from softtf.learners import BlockRidge, DualPrompt, Learner, LearnerSpec
from softtf.learners.block_ridge import BlockRidgeLearner
from softtf.learners.class_table import ClassTable
from softtf.learners.knowledge import Finished
from softtf.learners.shares import METHOD, Shares
from softtf.statistics import ClassScores
from softtf.statistics.random_ridge import SHARPNESS
from softtf.statistics.shares import Share
from softtf.streams import Examples
from softtf.training.config import TrainConfig

SMALL = BackboneSpec("random:test_vit", image_size=64)
CLASSES, DISTINCT, IMAGES, BATCH = 2, 8, 64, 64
MASKS = DualPrompt(
    g_layers="1", e_layers="4-6", adapt=SoftMask("4-6"), freeze_g_after_first=True, feature_id=100, sums="one"
)
RIDGE = BlockRidge(200, views=1, sums="one")
POLICIES = {
    "Prompt ID": "prompt-id",
    "Gradient ID": "gradient-id",
    "Gradient ID among 16": "gradient-id:top16",
    "Feature ID, joint, all tasks as likely": "feature-id:joint",
    "Feature ID, joint, among 16": "feature-id:top16:joint",
}
LIMITS = {  # at the largest T but one: what is held against what, and the most that it may be of it
    ("a sample, Gradient ID among 16", "a sample, Gradient ID"): 1,
    ("a sample, Feature ID, joint, among 16", "a sample, Feature ID, joint, all tasks as likely"): 0.2,
    ("memory at prediction, masks limited to 1 MB", "memory at prediction, masks in memory"): 0.5,
}


def measure(setup: Setup) -> Iterator[Result]:
    """Measure each number of tasks; that for the fewest stands in the twin's column."""
    counts = (10, 100, 1000, 10_000) if setup.files > 4 else (3, 6)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        first: dict[str, float] = {}
        for tasks in counts:
            found = dict[str, float]()
            for name, unit, value in measured(tasks, counts):
                found[name] = value
                first.setdefault(name, value)
                yield Row(f"{name}, T = {tasks:,}", value, first[name], unit=unit)
            for (one, other), limit in LIMITS.items() if tasks == counts[-2] else ():
                yield Target(f"{one} by {other}, T = {tasks:,}", found[one] / found[other], at_most=limit)
    finally:
        torch.set_num_threads(threads)


def measured(tasks: int, counts: tuple[int, ...]) -> Iterator[tuple[str, str, float]]:
    """Yield name, unit and value of everything that is measured at T = `tasks`."""
    pictures = list(varied_pictures(IMAGES, 64))
    data = Examples(pictures[:8], [-1, -2] * 4, "more")
    for name, spec in {"masks": MASKS, "ridge": RIDGE}.items():
        model = simulated(spec, tasks)
        before = model.knowledge.finished
        yield f"learn a task, {name}", "s", least(lambda m=model, b=before: learn_and_forget(m, b, data))
        if name == "ridge":
            yield "a sample, block-ridge", "s", least(lambda m=model: m.predict(pictures)) / IMAGES
            yield "bytes of sums, block-ridge", "B", float(bytes_of_shares(model.learner.shares))
            continue
        for policy, code in POLICIES.items():
            some = pictures[: few(code, tasks)]
            call = answering(model, some, code)
            call()  # what all batches share is put together once
            yield f"a sample, {policy}", "s", least(call, 3 if tasks <= 1000 else 1) / len(some)
        yield from bytes_of(model, pictures[:8])


def few(code: str, tasks: int) -> int:
    """Return how many images are answered by a policy: fewer where a sample takes seconds."""
    if code == "feature-id:joint":
        return 8 if tasks <= 1000 else 1
    return 8 if code == "gradient-id" and tasks > 1000 else IMAGES


def answering(model: ContinualClassifier, pictures: list[torch.Tensor], code: str) -> Callable[[], object]:
    """Return a call that answers the pictures by a policy."""
    return lambda: model.predict(pictures, inference=code, batch_size=BATCH)


def bytes_of(model: ContinualClassifier, pictures: list[torch.Tensor]) -> Iterator[tuple[str, str, float]]:
    """Yield what a learner holds while it answers: all in memory, and with the masks' limit; and its folder's bytes."""
    held = bytes_held(model.learner)
    peak = peak_bytes(answering(model, pictures, "feature-id:top16:joint"), torch.device("cpu"))
    yield "memory at prediction, masks in memory", "B", float(held + peak)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(Path(folder) / "learner")
        size = sum(file.stat().st_size for file in (Path(folder) / "learner").iterdir())
        yield "on disk, a task", "B", size / model.num_tasks
        limited = ContinualClassifier.from_pretrained(
            Path(folder) / "learner", backbone=model.learner.network.backbone, device="cpu", memory_limit="1MB"
        )
        peak = peak_bytes(answering(limited, pictures, "feature-id:top16:joint"), torch.device("cpu"))
        yield "memory at prediction, masks limited to 1 MB", "B", float(bytes_in_memory(limited.learner) + peak)


def bytes_in_memory(learner: Learner) -> int:
    """Return the bytes of a learner but for what stays in files."""
    mapped = [slots for slots in learner.slot_modules().values() if isinstance(slots, LargeAdaptation)]
    return bytes_held(learner) - sum(p.nbytes for slots in mapped for p in slots.slots.parameters())


def bytes_of_shares(shares: Shares) -> int:
    """Return the bytes of all sums."""
    return sum(value.nbytes for task in shares.tasks for share in task.values() for value in share.values())


def learn_and_forget(model: ContinualClassifier, before: Finished, data: Examples) -> None:
    """Learn a task, and go back to what was known."""
    model.learn(data, progress=False)
    model.knowledge.finished = before
    model.learner.become(before.learner)


def least(call: Callable[[], object], rounds: int = 3) -> float:
    """Return the least processor seconds of some calls."""
    found = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


@torch.no_grad()
def simulated(spec: LearnerSpec, tasks: int) -> ContinualClassifier:
    """Return a classifier that looks as if it had learned so many tasks of two classes."""
    train = None if spec is RIDGE else TrainConfig(1, 8, 0.03, augment=False, precision="float32")
    model = ContinualClassifier(SMALL, spec, train, device="cpu")
    learner, classes = model.learner, ClassTable()
    for task in range(tasks):
        if task < DISTINCT:
            learner.open_slots(CLASSES)
            for name, parameter in learner.trained_parameters().items():
                if ".task." in name or name.startswith("head."):
                    parameter.add_(torch.randn_like(parameter), alpha=0.03)
            learner.close_slots()
        else:
            learner.load_task({name: v.clone() for name, v in learner.task_state_dict(task % DISTINCT).items()})
        classes.add([2 * task, 2 * task + 1], f"task {task + 1}")
    sum_up(learner, classes)
    model.knowledge.finished = Finished(learner.face(), classes)
    return model


def sum_up(learner: Learner, classes: ClassTable) -> None:
    """Give a learner one sum over random features, two of each class, and what follows from it."""
    labels = classes.column_labels()
    columns = torch.arange(len(labels)).repeat(2)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(labels), learner.network.backbone.dim, generator=generator).repeat(2, 1)
    features += 0.1 * torch.randn(features.shape, generator=generator)
    found: dict[str, Share] = {}
    if "feature-id" in learner.statistics:
        scores = learner.statistics["feature-id"]
        assert isinstance(scores, ClassScores)
        share = scores.regression._summed(features, columns, labels, columns < 0)  # no example is held out
        found["feature-id"] = share._replace(tensors={**share.tensors, **SHARPNESS.kept(None, 0.0)})
        unsure = {"temperature": torch.tensor(1.0)}  # all tasks are about as likely: what a joint answer costs at most
        learner.gathered = {"feature-id": scores.combined([found["feature-id"]]) | unsure}
    else:
        assert isinstance(learner, BlockRidgeLearner)
        learner.memory = learner._usual_range()
        found[METHOD] = learner.regression.share([], features, columns, labels, learner._standardised)
        learner.solve([found[METHOD]])
    tensors = {owner: dict(share.tensors) for owner, share in found.items()}
    learner.shares = Shares([*[{}] * (learner.num_tasks - 1), tensors])
