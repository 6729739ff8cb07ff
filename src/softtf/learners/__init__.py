"""Methods that learn a stream of tasks, one file each."""

from softtf.learners.base import Learner, LearnerSpec
from softtf.learners.dual_prompt import DualPrompt
from softtf.learners.l2p import L2P
from softtf.learners.linear_head import LinearHead

__all__ = ["L2P", "DualPrompt", "Learner", "LearnerSpec", "LinearHead"]
