"""Everything that a classifier is and answers, to be compared bit for bit: what a task that failed must not change."""

import random
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from contracts.cases import LearnerCase
from softtf.backbones import Backbone
from softtf.classifier import ContinualClassifier
from softtf.streams import Examples
from support.tiny import backbone_for, pictures, task_data, training_of
from support.tiny_bert import text_task, texts, tiny_bert


def fresh(case: LearnerCase, backbone: Backbone | None = None) -> ContinualClassifier:
    """A classifier that learned nothing yet."""
    backbone = backbone or (tiny_bert() if case.texts else backbone_for(case.spec))
    return ContinualClassifier(backbone, case.spec, training_of(case.spec), device="cpu", seed=3)


def data(case: LearnerCase, task: int) -> Examples:
    """A task of two examples a class, more where a method needs them."""
    return text_task(task, 2) if case.texts else task_data(task, 2)


def unseen(case: LearnerCase, n: int = 3) -> Any:
    """Inputs to answer for."""
    return list(texts(n, 7)) if case.texts else pictures(n, 7)


def state_of(model: ContinualClassifier, case: LearnerCase) -> dict[str, Hashable]:
    """Values, flags, modes, types, random numbers and answers, by name; tensors as their bytes."""
    found: dict[str, Hashable] = {"tasks": tuple(model.classes.tasks), "names": tuple(model.classes.names)}
    found |= {"labels": tuple(model.labels), "num_tasks": (model.num_tasks, model.learner.num_tasks)}
    _walk("learner", vars(model.learner), found, set())
    default, numpy = torch.get_default_dtype(), np.random.get_state()  # noqa: NPY002 - it is the global one
    modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    found |= {"settings": (default, *modes, model.learner.network.backbone.compute_dtype)}
    found |= {"random": (_bytes(torch.get_rng_state()), str(numpy), random.getstate())}
    if model.num_tasks:
        found |= {"answers": _bytes(model.predict_proba(unseen(case)))}
    return found


def _walk(name: str, value: Any, found: dict[str, Hashable], seen: set[int]) -> None:
    """Note all that an object holds, however deep."""
    if isinstance(value, Tensor):
        found[name] = (str(value.dtype), tuple(value.shape), value.requires_grad, value.grad is None, _bytes(value))
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        found[name] = value
    elif id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, dict):
            for key, part in value.items():
                _walk(f"{name}.{key}", part, found, seen)
        elif isinstance(value, list | tuple | set | frozenset):
            for place, part in enumerate(value):
                _walk(f"{name}.{place}", part, found, seen)
        elif isinstance(value, nn.Module) or type(value).__module__.startswith("softtf."):
            parts = {k: v for k, v in getattr(value, "__dict__", {}).items() if k not in PASSED_OVER}
            _walk(name, parts, found, seen)


PASSED_OVER = ("_cast", "_copies", "edited")
"""Copies of what is noted anyway: caches."""


def _bytes(value: Tensor) -> bytes:
    return value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
