"""`python -m benchmarks.shortlist FOLDER`: how often the answer among all tasks is on a shortlist, on real images.

FOLDER has the images of CIFAR-100, as for `softtf run cifar100-10 --source FOLDER`. DualPrompt + Soft-TF on the bundled
ViT learns them as 50 tasks of two classes; other streams by `--recipe` and `--tasks`.
"""

import argparse
import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.classifier import ContinualClassifier
from softtf.config.dotted import with_settings
from softtf.evaluation.evaluate import evaluate
from softtf.evaluation.test_data import TestData
from softtf.inference.policy import parse_policy
from softtf.recipes.recipes import recipe_named
from softtf.training.config import TrainConfig

SIZES = (1, 2, 4, 8, 16, 32)
FULL = ("gradient-id", "prompt-id", "feature-id:joint")


@dataclass(frozen=True)
class Found:
    """What a policy answers with a shortlist.

    Attributes:
        same_task: the share of samples whose task is that which is named among all.
        same_label: the share whose label is.
        right: the share that is right.
    """

    same_task: float
    same_label: float
    right: float


def measure(recipe: str, source: str, tasks: int, per_class: int, tests: int, epochs: int) -> dict[str, Found]:
    """Learn the stream, and compare each policy with its shortlists."""
    settings = {"stream.source": source, "stream.num_tasks": tasks, "stream.train_per_class": per_class}
    config = with_settings(recipe_named(recipe, "dual-prompt+soft-tf"), settings | {"stream.test_per_class": tests})
    stream = config.stream.build(print)
    spec = with_settings(config, {"learner.feature_id": 500, "learner.sums": "one"}).learner
    train = TrainConfig(epochs, 20, 0.03, augment=False, precision="float32")
    model = ContinualClassifier("vit_tiny_patch8_64", spec, train, device="cpu")
    for task in stream:
        model.learn(task.train, task.name, progress=False)
    return compared(model, [task.test for task in stream])


def compared(model: ContinualClassifier, tests: list) -> dict[str, Found]:
    """Return what each policy finds, by its code."""
    learner, classes = model.knowledge.finished
    codes = [*FULL, *(shortened(code, size) for code in FULL for size in SIZES)]
    data = TestData.of(tests, classes, learner.network.backbone, 60, None)
    policies = [parse_policy(code) for code in codes]
    scores = evaluate(learner, data, classes.column_labels(), policies)
    samples = {code: scores[policy].samples for code, policy in zip(codes, policies, strict=True)}
    return {
        code: Found(
            share(samples[code].task == samples[full_of(code)].task),
            share(samples[code].answer == samples[full_of(code)].answer),
            share(samples[code].right),
        )
        for code in codes
    }


def share(mask: Tensor) -> float:
    """Return the share of true entries."""
    return float(mask.double().mean())


def shortened(code: str, size: int) -> str:
    """Return a policy's code with a shortlist."""
    name, _, answer = code.partition(":")
    return ":".join(filter(None, [name, f"top{size}", answer]))


def full_of(code: str) -> str:
    """Return the code without its shortlist."""
    return ":".join(part for part in code.split(":") if not part.startswith("top"))


def main(args: list[str]) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--recipe", default="cifar100-10")
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--per-class", type=int, default=10)
    parser.add_argument("--tests", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args(args)
    torch.set_num_threads(1)
    found = measure(given.recipe, given.folder, given.tasks, given.per_class, given.tests, given.epochs)
    print("| policy | same task as among all | same label | right |\n| --- | ---: | ---: | ---: |")
    for code, one in found.items():
        print(f"| `{code}` | {one.same_task:.1%} | {one.same_label:.1%} | {one.right:.1%} |")


if __name__ == "__main__":
    main(sys.argv[1:])
