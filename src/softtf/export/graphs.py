"""The answer of a learner as graphs without Python: a trunk, and a top for each task.

    trunk: inputs -> the tokens that enter the tops, and the share of each task's network in the answer [n, tasks]
    top t: tokens -> the probabilities of task t's network [n, columns]

The answer is the sum of the tops' probabilities, each times its share; a top that has no share need not be run. Where
the answer needs no task, one graph gives it. The graphs are traced from the learner's own code.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from softtf.backbones.base import Tokens
from softtf.errors import UserError
from softtf.inference.answers import answer
from softtf.inference.base import INFERENCES
from softtf.inference.clock import Clock
from softtf.inference.policy import Policy
from softtf.inference.pooling import PER_SAMPLE
from softtf.inference.shortlist import scorer_of
from softtf.learners.base import Learner
from softtf.network import SharedPass

TENSORS = ("x", "mask", "at", "query", "features")
"""The tensors of `Tokens`."""


def check_policy(policy: Policy) -> None:
    """Refuse a policy that no graph can follow.

    Raises:
        UserError: it reads gradients, pools several samples, or is told the task.
    """
    if INFERENCES[policy.inference].reads_gradients:
        raise UserError(
            f"{policy.code} cannot be exported: it reads gradients, and a graph has none; export another policy,"
            " such as prompt-id or feature-id:joint"
        )
    if policy.pooling != PER_SAMPLE:
        raise UserError(f"{policy.code} cannot be exported: it pools samples; export {policy.inference}")
    if INFERENCES[policy.inference].given:
        raise UserError(f"{policy.code} cannot be exported: it is told the task; export one task (task=...)")


class Whole(nn.Module):
    """inputs -> probabilities [n, columns], where the answer needs no task."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.held = (learner,)  # no submodule: a graph keeps only the tensors that it reads

    def forward(self, *tensors: Tensor) -> tuple[Tensor]:
        """Return the probabilities; tensors: the prepared inputs alone."""
        (learner,), (inputs,) = self.held, tensors
        return (learner.logits(SharedPass(learner.network, inputs).trunk, 0).softmax(1),)


class Trunk(nn.Module):
    """inputs -> the tokens' tensors, and the share of each task's network in the answer [n, tasks]."""

    def __init__(self, learner: Learner, policy: Policy) -> None:
        super().__init__()
        self.held, self.policy = (learner,), policy

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return them; tensors: the prepared inputs alone."""
        (learner,), (inputs,) = self.held, tensors
        shared = SharedPass(learner.network, inputs)
        scores = scorer_of(self.policy.evidence, learner).scores(learner, shared)
        return *tensors_of(shared.trunk), self.policy.shares(scores.double()).to(torch.float32)


class Top(nn.Module):
    """The tokens' tensors -> probabilities [n, columns] of one task's network.

    Args:
        learner: what answers.
        task: whose network.
        within: whether it is asked about its own classes only.
        like: tokens with the same tensors.
    """

    def __init__(self, learner: Learner, task: int, within: bool, like: Tokens) -> None:
        super().__init__()
        self.held, self.task, self.like = (learner,), task, (like,)
        self.others = learner.column_tasks() != task if within else None

    def forward(self, *tensors: Tensor) -> tuple[Tensor]:
        """Return the probabilities."""
        (learner,), (like,) = self.held, self.like
        logits = learner.logits(_tokens(like, tensors), self.task)
        return ((logits if self.others is None else logits.masked_fill(self.others, -torch.inf)).softmax(1),)


def tensors_of(tokens: Tokens) -> tuple[Tensor, ...]:
    """Return the tensors of tokens that a top reads, in the order of `names_of`."""
    return tuple(getattr(tokens, name) for name in names_of(tokens))


def names_of(tokens: Tokens) -> list[str]:
    """Return the names of the tensors of tokens; where features are known there are no tokens."""
    return ["features"] if tokens.features is not None else [n for n in TENSORS if getattr(tokens, n) is not None]


def _tokens(like: Tokens, tensors: tuple[Tensor, ...]) -> Tokens:
    if like.features is not None:
        return Tokens.of_features(tensors[0])
    return replace(like, **dict(zip(names_of(like), tensors, strict=True)))  # type: ignore[arg-type]


@torch.no_grad()
def right_answer(learner: Learner, policy: Policy, inputs: Tensor) -> Tensor:
    """Return the learner's own probabilities [n, columns] for prepared inputs."""
    passes, rows = [SharedPass(learner.network, inputs)], torch.arange(len(inputs))
    return answer(learner, passes, [policy], [rows], len(inputs), Clock(inputs.device)).probabilities[:, 0]
