"""The optimizer of a task, and what a checkpoint keeps of it: the same values, whichever kernel takes the steps."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from softtf.files.tensor_form import TensorForm, form_like
from softtf.training.config import TrainConfig

KEPT = {
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
}
"""What an optimizer holds of a parameter that has had a gradient."""


def optimizer_of(config: TrainConfig, groups: list[dict[str, Any]], rate: float) -> torch.optim.Optimizer:
    """Return Adam, AdamW, or SGD with momentum 0.9 (METHOD section 5: CLIP), for groups of parameters.

    On a GPU one kernel takes a step of all parameters, which rounds differently in the last digit.
    """
    fused = fuses(parameter for group in groups for parameter in group["params"])
    settings: dict[str, Any] = {"weight_decay": config.weight_decay, "fused": fused or None}
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, momentum=0.9, **settings)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, rate, **settings)


def fuses(parameters: Iterable[Tensor]) -> bool:
    """Return whether one kernel can take a step of all parameters: they are real and on a GPU."""
    return all(parameter.device.type == "cuda" and parameter.is_floating_point() for parameter in parameters)


def kept_forms(optimizer: str, parameter: Tensor, steps: int) -> dict[str, TensorForm]:
    """Return the forms of what an optimizer holds of a parameter after 1 ... `steps` steps."""
    like = form_like(parameter, exact=True)
    known = {"step": TensorForm((), (torch.float32,), 1, steps), "exp_avg_sq": replace(like, least=0)}
    return {key: known.get(key, like) for key in KEPT[optimizer]}


def restore(optimizer: torch.optim.Optimizer, parameter: Tensor, kept: Mapping[str, Tensor]) -> None:
    """Set what an optimizer holds of a parameter to copies on the parameter's device.

    The count of steps stays on the CPU, unless the optimizer is fused: its kernel reads the count on the device.
    """
    counts_here = not optimizer.defaults["fused"]
    optimizer.state[parameter] = {
        key: value.to("cpu" if key == "step" and counts_here else parameter.device, copy=True)
        for key, value in kept.items()
    }
