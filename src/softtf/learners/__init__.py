"""Methods that learn a stream of tasks, one file each."""

from softtf.learners.base import Learner, LearnerSpec
from softtf.learners.bic import BiC
from softtf.learners.block_ridge import BlockRidge
from softtf.learners.clip_prompt import CLIPPrompt, CLIPPromptPublished
from softtf.learners.clip_zero_shot import CLIPZeroShot
from softtf.learners.closed_form import ClosedFormLearner
from softtf.learners.der import DER
from softtf.learners.derpp import DERpp
from softtf.learners.dual_prompt import DualPrompt
from softtf.learners.ewc import EWC
from softtf.learners.fine_tuning import FT
from softtf.learners.icarl import ICaRL
from softtf.learners.idbr import IDBR
from softtf.learners.l2p import L2P
from softtf.learners.linear_head import LinearHead
from softtf.learners.lwf import LwF
from softtf.learners.mbpa import MBPA
from softtf.learners.ncm import NCM
from softtf.learners.progressive_prompts import ProgressivePrompts
from softtf.learners.ranpac import RanPAC
from softtf.learners.slm import SLM

__all__ = [
    "BiC",
    "BlockRidge",
    "CLIPPrompt",
    "CLIPPromptPublished",
    "CLIPZeroShot",
    "DER",
    "DERpp",
    "DualPrompt",
    "EWC",
    "FT",
    "ICaRL",
    "IDBR",
    "L2P",
    "Learner",
    "LearnerSpec",
    "LinearHead",
    "LwF",
    "MBPA",
    "NCM",
    "ProgressivePrompts",
    "RanPAC",
    "SLM",
    "ClosedFormLearner",
]
