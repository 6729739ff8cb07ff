"""Gradient ID: the task with the largest decrease of entropy per share in the superposed network.

alpha = 1/T; H = entropy of the softmax over the C/T largest logits of the mixture network, and over these alone; scores
= -dH/dalpha (one-shot inference of Wortsman et al., "Supermasks in Superposition", NeurIPS 2020, whose own H is that of
the whole softmax). Exact for each sample, in one shared forward and one backward of the top: see
`softtf.backbones.mixed_linear`.
"""

import torch
from torch import Tensor

from softtf.adaptations.task_keys import TaskKeys
from softtf.inference.base import TaskInference
from softtf.learners.base import Learner
from softtf.network import SharedPass


class GradientID(TaskInference):
    """Gradient ID with all parameters of the tasks superposed, prompts included; it needs no query."""

    name = "gradient-id"
    title = "Gradient ID"
    reads_gradients = True

    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return -dH_x/dalpha [batch, tasks]."""
        return self._scores(learner, shared, None)

    def scores_among(self, learner: Learner, shared: SharedPass, among: Tensor) -> Tensor:
        """Return -dH_x/dalpha_j of each sample's own tasks [batch, k], with inner products for these alone."""
        return self._scores(learner, shared, among).gather(1, among)

    def _scores(self, learner: Learner, shared: SharedPass, among: Tensor | None) -> Tensor:
        """Return -dH_x/dalpha [batch, tasks]; with `among`, only the scores of each sample's own tasks are whole."""
        tasks = learner.num_tasks
        trunk = shared.trunk
        alpha = torch.full((len(trunk), tasks), 1 / tasks, device=trunk.x.device, dtype=trunk.x.dtype)
        with torch.enable_grad():
            alpha.requires_grad_()
            features = learner.network.top(trunk, mixture=alpha, prompts=self.prompts(learner, shared), among=among)
            logits = learner.network.heads(features, range(tasks))
            entropy = largest_entropy(logits, self.entries(logits.shape[1], tasks))
            (gradient,) = torch.autograd.grad(entropy.sum(), alpha)
        return -gradient

    def entries(self, classes: int, tasks: int) -> int:
        """Return how many of the largest logits H reads: C/T, rounded down, but at least two where there are two.

        The softmax over one logit is always 1, so its entropy and all scores would be 0. Where tasks have one class
        each, or one and two, H is the entropy between the two best classes.
        """
        return min(classes, max(2, classes // tasks))

    def prompts(self, learner: Learner, shared: SharedPass) -> Tensor | None:
        """Return the task [batch] whose prompts each sample gets, or None to mix them."""
        return None


class GradientIDFull(GradientID):
    """Gradient ID as supermasks in superposition have it: H is the entropy of the softmax over all classes seen."""

    name = "gradient-id-full"
    title = "Gradient ID (full softmax)"
    by_default = False

    def entries(self, classes: int, tasks: int) -> int:
        """Return all of them."""
        return classes


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


def largest_entropy(logits: Tensor, entries: int) -> Tensor:
    """Return the entropy [batch] of the softmax over the `entries` largest of logits [batch, classes] alone.

    With d_c = z_1 - z_c for all but the largest logit z_1, and S the sum of exp(-d_c): H = log(1 + S) + sum of d_c p_c.
    In float32, once the largest logit leads by 17, its term in -sum p log p rounds to zero and its gradient to noise.
    Here no digits cancel.
    """
    largest = logits.topk(entries, dim=-1).values
    behind = largest[..., :1] - largest[..., 1:]
    odds = (-behind).exp()
    total = odds.sum(-1)
    return total.log1p() + (behind * odds).sum(-1) / (1 + total)
