"""Gradient ID: the task whose share in the superposed network would lower the entropy fastest.

alpha = 1/T; H = entropy of the mixture network's top C/T probabilities; scores = -dH/dalpha (one-shot
inference of supermasks in superposition). Exact for each sample, in one shared forward and one backward
of the top: see `softtf.backbones.mixed_linear`.
"""

import torch
from torch import Tensor

from softtf.adaptations.task_keys import TaskKeys
from softtf.inference.base import TaskInference
from softtf.learners.base import Learner
from softtf.shared_pass import SharedPass


class GradientID(TaskInference):
    """Per-sample Gradient ID with every per-task parameter superposed, prompts too: needs no query."""

    name = "gradient-id"
    title = "Gradient ID"

    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return -dH_x/dalpha [batch, tasks]."""
        tasks = learner.num_tasks
        trunk = shared.trunk
        alpha = torch.full((len(trunk), tasks), 1 / tasks, device=trunk.x.device, dtype=trunk.x.dtype)
        with torch.enable_grad():
            alpha.requires_grad_()
            features = learner.network.top(trunk, mixture=alpha, prompts=self.prompts(learner, shared))
            logits = learner.network.heads(features, range(tasks))
            entropy = top_entropy(logits, max(1, logits.shape[1] // tasks))
            (gradient,) = torch.autograd.grad(entropy.sum(), alpha)
        return -gradient

    def prompts(self, learner: Learner, shared: SharedPass) -> Tensor | None:
        """Return the task [batch] whose prompts each sample gets, or None to mix them."""
        return None


class GradientIDKeyPrompts(GradientID):
    """Gradient ID as the published code has it: each sample keeps the prompts of its key-matched task."""

    name = "gradient-id-key-prompts"
    title = "Gradient ID (key-matched prompts)"
    needs_query = True
    by_default = False

    def prompts(self, learner: Learner, shared: SharedPass) -> Tensor | None:
        """Return argmax_t cos(q(x), k_t) [batch]."""
        keys = learner.extra_slots["task_keys"]
        assert isinstance(keys, TaskKeys)
        return keys.similarities(shared.query).argmax(1)


def top_entropy(logits: Tensor, entries: int) -> Tensor:
    """Return -sum p log p over the `entries` largest of softmax(logits), [batch]; they are not renormalised."""
    log_p = logits.log_softmax(-1).topk(entries, dim=-1).values
    return -(log_p.exp() * log_p).sum(-1)
