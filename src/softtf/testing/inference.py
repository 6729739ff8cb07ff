"""Check a task inference."""

from dataclasses import replace

import torch

from softtf.adaptations import SoftMask
from softtf.backbones import Backbone
from softtf.classifier import ContinualClassifier
from softtf.config.tree import from_dict
from softtf.inference import INFERENCES, TaskInference, policies_of
from softtf.learners import DualPrompt, LearnerSpec, LinearHead
from softtf.network import SharedPass
from softtf.statistics import STATISTIC_KINDS
from softtf.testing.laws import equal, law, same
from softtf.testing.learner import check_saving
from softtf.testing.tiny import TASKS, inputs, task_data, tiny_backbone
from softtf.training.config import TrainConfig


def _learned(backbone: Backbone, spec: LearnerSpec, kind: type[TaskInference]) -> ContinualClassifier:
    model = ContinualClassifier(backbone, spec, TrainConfig(**spec.training), device="cpu", inference=kind.name)
    for task in range(TASKS):
        model.learn(task_data(task), progress=False)
    return model


def check_inference(kind: type[TaskInference], spec: LearnerSpec | None = None) -> None:
    """Check a task inference: the shape of its scores, that each depends on one sample alone, that saving keeps it.

    If its statistics have an amount, another amount must gather other statistics.

    Args:
        kind: the class.
        spec: a learner that supports it; None is a linear head that gathers its statistics, or soft masks.
    """
    if spec is None and kind.name in STATISTIC_KINDS:
        spec = from_dict(LinearHead, STATISTIC_KINDS[kind.name].settings())
    spec = spec or DualPrompt(g_layers="none", e_layers="3", adapt=SoftMask("3-4", init="uniform(0.5,1.5)"))
    frozen = tiny_backbone()
    law(INFERENCES.get(kind.name) is kind, f"no other task inference is named {kind.name!r}")
    supported = kind.name in policies_of(spec.new_learner(frozen, 0))
    law(
        supported,
        f"{spec.kind} supports it: it names it, it gathers its statistics, or `fits` says so; if it is for other"
        " learners, give check_inference one of them",
    )
    model = _learned(frozen, spec, kind)
    gathers = STATISTIC_KINDS.get(kind.name)
    if gathers is not None and gathers.amount:
        other = _learned(frozen, replace(spec, **gathers.settings(2 if gathers.amount == 1 else 1)), kind)
        found, usual = (some.learner.gathered[kind.name] for some in (other, model))
        law(
            not equal(found, usual),
            "another amount gathers other statistics: read `self.amount`, or give the class no `amount`",
        )
    check_saving(model, tiny_backbone)
    learner, x = model.learner.double(), inputs(6)
    with torch.no_grad(), learner.computing_in(torch.float64):
        whole = kind().scores(learner, SharedPass(learner.network, x))
        law(whole.shape == (6, TASKS) and bool(whole.isfinite().all()), "scores are finite, [batch, tasks]")
        alone = torch.cat([kind().scores(learner, SharedPass(learner.network, row[None])) for row in x])
        same(alone, whole, "a sample's scores do not depend on its neighbours")
        if kind.log_probabilities:
            same(whole.logsumexp(1), torch.zeros(6).double(), "scores with log_probabilities are log P(t|x)")
