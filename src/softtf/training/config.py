"""How each task is trained: epochs, rates, the optimizer."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from softtf.config.bounds import Above, AtLeast, AtMost, BatchSize, Between, Count
from softtf.config.tree import Settings
from softtf.devices.device import Precision

LARGEST_RATE = 1e30  # a larger one overflows float32 in the first step
Rate = Annotated[float, Above(0), AtMost(LARGEST_RATE)]
Decay = Annotated[float, Between(0, LARGEST_RATE)]


@dataclass(frozen=True)
class TrainConfig(Settings):
    """How each task is trained. Each has a new optimizer; the defaults are the paper's for DualPrompt on CIFAR-100.

    Attributes:
        epochs: passes over each task's data.
        batch_size: examples per step.
        learning_rate: the learning rate for a batch of 256; it is scaled by batch_size / 256.
        schedule: a constant learning rate, or one that falls to zero along a cosine or a line.
        clip_norm: the largest norm of the gradient; None means no clipping.
        augment: train on random resized crops and flips.
        clean_query: match keys with the query of the unaugmented image, computed once instead of at each step. Without
            augmentation this is always done.
        precision: the precision of matrix products; auto is bfloat16 where the hardware has it.
        optimizer: Adam, AdamW, or SGD with momentum 0.9.
        weight_decay: the share of each parameter that is added to its gradient after clipping; AdamW subtracts this
            share, times the learning rate, from the parameter instead.
        first_task_learning_rate: the first task's learning rate; None is learning_rate.
        first_task_weight_decay: the first task's weight decay; None is weight_decay.
        warmup: steps at the start of each task in which the learning rate rises linearly from zero; then the schedule
            follows.
        compile: let torch compile the backbone's blocks, which takes minutes in the first steps. Results differ by
            rounding. On CPUs it gains little; on a GPU it was tried with the bundled ViT alone.
        record: on a GPU, record a step's kernels once and replay them for each batch (a CUDA graph), where the method's
            step is the same work for every batch. Results are the same.
    """

    epochs: Count = 20
    batch_size: BatchSize = 24
    learning_rate: Rate = 0.03
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    clip_norm: Rate | None = 1.0
    augment: bool = True
    clean_query: bool = False
    precision: Precision = "auto"
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: Decay = 0.0
    first_task_learning_rate: Rate | None = None
    first_task_weight_decay: Decay | None = None
    warmup: Annotated[int, AtLeast(0)] = 0
    compile: bool = False
    record: bool = True

    def share_of_rate(self, step: int, steps: int) -> float:
        """Return the factor of the rate at step `step`, counted from 0, of `steps`."""
        if step < self.warmup:
            return step / self.warmup
        past = (step - self.warmup) / max(1, steps - self.warmup)
        return {"constant": 1.0, "cosine": 0.5 * (1 + math.cos(math.pi * past)), "linear": 1 - past}[self.schedule]

    def of_task(self, task: int) -> "TrainConfig":
        """Return the settings of task `task`, counted from 0: the first may have its own rate and weight decay."""
        rate, decay = self.first_task_learning_rate, self.first_task_weight_decay
        if task:
            return self
        return replace(
            self,
            learning_rate=self.learning_rate if rate is None else rate,
            weight_decay=self.weight_decay if decay is None else decay,
        )
