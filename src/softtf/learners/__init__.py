"""Methods that learn a stream of tasks, one file each."""

from softtf.learners.base import Learner, LearnerSpec
from softtf.learners.dual_prompt import DualPrompt
from softtf.learners.linear_head import LinearHead
from softtf.learners.ncm import NCM
from softtf.learners.ranpac import RanPAC
from softtf.learners.solved import SolvedLearner

__all__ = ["NCM", "DualPrompt", "Learner", "LearnerSpec", "LinearHead", "RanPAC", "SolvedLearner"]
