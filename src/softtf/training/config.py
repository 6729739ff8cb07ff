"""How each task is trained: epochs, rates, the optimizer."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from softtf.devices.device import Precision
from softtf.errors import UserError

LARGEST_BATCH = 1_000_000
LARGEST_RATE = 1e30  # beyond, float32 arithmetic overflows in the first step


@dataclass(frozen=True)
class TrainConfig:
    """How each task is trained, by an optimizer started afresh; the defaults are the paper's DualPrompt on CIFAR-100.

    Attributes:
        epochs: passes over each task's data.
        batch_size: examples a step.
        learning_rate: for a batch of 256; scales with batch_size.
        schedule: the rate stays, or falls to zero along a cosine or a line.
        clip_norm: the gradient's norm is cut to this; None leaves it as it is.
        augment: random resized crops and flips.
        clean_query: match keys with the query of the unaugmented image, which is computed once and not at each step;
            without augmentation that is done anyway, and this changes nothing.
        precision: of matrix products; auto is bfloat16 where the device has it in hardware.
        optimizer: Adam, AdamW, or SGD with momentum 0.9.
        weight_decay: so much of each parameter is added to its gradient (after clipping); AdamW takes that much, times
            the rate, from the parameter itself.
        first_task_learning_rate: the first task's rate, where it is another one.
        first_task_weight_decay: its weight decay, where that is another one.
        warmup: in so many first steps of each task the rate climbs from zero along a line; then the schedule begins.
    """

    epochs: int = 20
    batch_size: int = 24
    learning_rate: float = 0.03
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    clip_norm: float | None = 1.0
    augment: bool = True
    clean_query: bool = False
    precision: Precision = "auto"
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = 0.0
    first_task_learning_rate: float | None = None
    first_task_weight_decay: float | None = None
    warmup: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"epochs must be at least 1, not {self.epochs}")
        check_batch_size(self.batch_size)
        for name in ("learning_rate", "clip_norm", "first_task_learning_rate"):
            if (value := getattr(self, name)) is not None and not 0 < value <= LARGEST_RATE:
                raise UserError(f"{name} must be a positive number up to {LARGEST_RATE:g}, not {value}")
        for name in ("weight_decay", "first_task_weight_decay"):
            if (value := getattr(self, name)) is not None and not 0 <= value <= LARGEST_RATE:
                raise UserError(f"{name} must be a number from 0 up to {LARGEST_RATE:g}, not {value}")
        if self.warmup < 0:
            raise UserError(f"warmup must be a number of steps from 0 up, not {self.warmup}")

    def share_of_rate(self, step: int, steps: int) -> float:
        """Return by what the rate is multiplied at a step, counted from 0, of `steps`."""
        if step < self.warmup:
            return step / self.warmup
        past = (step - self.warmup) / max(1, steps - self.warmup)
        return {"constant": 1.0, "cosine": 0.5 * (1 + math.cos(math.pi * past)), "linear": 1 - past}[self.schedule]

    def of_task(self, task: int) -> "TrainConfig":
        """Return the settings of one task, counted from 0: the first may have a rate and a decay of its own."""
        rate, decay = self.first_task_learning_rate, self.first_task_weight_decay
        if task:
            return self
        return replace(
            self,
            learning_rate=self.learning_rate if rate is None else rate,
            weight_decay=self.weight_decay if decay is None else decay,
        )


def check_batch_size(batch_size: int) -> None:
    """Raise UserError unless a batch size is one that a machine can hold."""
    if not 1 <= batch_size <= LARGEST_BATCH:
        raise UserError(f"batch_size must be at least 1 and at most {LARGEST_BATCH}, not {batch_size}")
