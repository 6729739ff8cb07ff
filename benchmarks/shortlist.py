"""`python -m benchmarks.shortlist RUN`: how often the answer among all tasks is on a shortlist, on a run's test data.

RUN is the folder of a finished run whose learner gathers statistics for Feature ID and infers tasks otherwise, too,
such as `softtf run cifar100-10 --method dual-prompt+soft-tf --learner.feature-id 1000`.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from softtf.classifier import ContinualClassifier
from softtf.evaluation.evaluate import evaluate
from softtf.evaluation.test_data import TestData
from softtf.inference.policy import parse_policy
from softtf.runs.run import reopen
from softtf.screen import Screen
from softtf.streams import Examples

SIZES = (1, 2, 4, 8)
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


def compared(model: ContinualClassifier, tests: Sequence[Examples]) -> dict[str, Found]:
    """Return what each policy finds without a shortlist, and with one of each size, by its code."""
    learner, classes = model.knowledge.finished
    codes = [*FULL, *(shortened(code, size) for code in FULL for size in SIZES)]
    data = TestData.of(tests, classes, learner.network.backbone, 60, None)
    policies = [parse_policy(code) for code in codes]
    scores = evaluate(learner, data, classes.column_labels(), policies)
    samples = {policy.code: scores[policy].samples for policy in policies}
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
    return replace(parse_policy(code), shortlist=size).code


def full_of(code: str) -> str:
    """Return the code without its shortlist."""
    return replace(parse_policy(code), shortlist=None).code


def main(args: list[str]) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--tests", type=int, default=4, help="test examples of each class")
    given = parser.parse_args(args)
    torch.set_num_threads(1)
    run = reopen(given.run, Screen())
    found = compared(run.model, [test.per_class(given.tests, 0) for test in run.tests])
    print("| policy | same task as among all | same label | right |\n| --- | ---: | ---: | ---: |")
    for code, one in found.items():
        print(f"| `{code}` | {one.same_task:.1%} | {one.same_label:.1%} | {one.right:.1%} |")


if __name__ == "__main__":
    main(sys.argv[1:])
