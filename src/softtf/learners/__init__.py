"""Methods that learn a stream of tasks, one per file.

To write your own, derive a `LearnerSpec` (its settings, `title` and `build`) and a `Learner`. The learner must have
`loss`, which gets a `Batch`. Override the other hooks only where they differ: `begin_task` and `end_task` get the
`TaskData`; the rest are `after_backward` and `logits`. A method that is solved from frozen features
derives a `ClosedFormLearner` and has `fit` instead; the `training` of its spec is ONE_PASS.
`softtf.testing.check_learner` checks your method.
"""

from softtf.learners.base import Batch, Learner
from softtf.learners.bic import BiC
from softtf.learners.block_ridge import BlockRidge, SoftTF
from softtf.learners.clip_prompt import CLIPPrompt, CLIPPromptPublished
from softtf.learners.clip_zero_shot import CLIPZeroShot
from softtf.learners.closed_form import ONE_PASS, ClosedFormLearner
from softtf.learners.coda_prompt import CODAPrompt
from softtf.learners.der import DER
from softtf.learners.derpp import DERpp
from softtf.learners.dual_prompt import DualPrompt
from softtf.learners.ease import EASE
from softtf.learners.ewc import EWC
from softtf.learners.fine_tuning import FT
from softtf.learners.fly_cl import FlyCL
from softtf.learners.hide_prompt import HiDePrompt, NoRGa
from softtf.learners.icarl import ICaRL
from softtf.learners.idbr import IDBR
from softtf.learners.klda import KLDA
from softtf.learners.l2p import L2P
from softtf.learners.layup import LayUP
from softtf.learners.linear_head import LinearHead
from softtf.learners.lwf import LwF
from softtf.learners.mbpa import MBPA
from softtf.learners.mos import MOS
from softtf.learners.ncm import NCM
from softtf.learners.progressive_prompts import ProgressivePrompts
from softtf.learners.ranpac import RanPAC
from softtf.learners.ranpac_fsa import RanPACFSA
from softtf.learners.slca import SLCA
from softtf.learners.slm import SLM
from softtf.learners.spec import LearnerSpec
from softtf.learners.task_data import TaskData
from softtf.learners.tuna import TUNA

__all__ = [
    "Batch",
    "BiC",
    "BlockRidge",
    "CODAPrompt",
    "CLIPPrompt",
    "CLIPPromptPublished",
    "CLIPZeroShot",
    "ClosedFormLearner",
    "DER",
    "DERpp",
    "DualPrompt",
    "EASE",
    "EWC",
    "FT",
    "FlyCL",
    "HiDePrompt",
    "ICaRL",
    "IDBR",
    "KLDA",
    "L2P",
    "Learner",
    "LearnerSpec",
    "LayUP",
    "LinearHead",
    "LwF",
    "MBPA",
    "MOS",
    "NCM",
    "ONE_PASS",
    "NoRGa",
    "ProgressivePrompts",
    "RanPAC",
    "RanPACFSA",
    "SLCA",
    "SLM",
    "SoftTF",
    "TUNA",
    "TaskData",
]
