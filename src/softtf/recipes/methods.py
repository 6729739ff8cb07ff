"""The paper's methods by name, as complete learner specs with the layers its runs use (METHOD sections 2, 3, 5).

Where a comparator's published settings are not the defaults of its class, they stand here (docs/methods.md).
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from softtf.adaptations import Adapter, BinaryMask, LoRA, Projection, SoftMask, SoftNet
from softtf.errors import unknown
from softtf.learners import (
    DER,
    EWC,
    FT,
    IDBR,
    L2P,
    MBPA,
    NCM,
    SLM,
    BiC,
    BlockRidge,
    CLIPPrompt,
    CLIPPromptPublished,
    CLIPZeroShot,
    DERpp,
    DualPrompt,
    ICaRL,
    LearnerSpec,
    LinearHead,
    LwF,
    ProgressivePrompts,
    RanPAC,
)
from softtf.learners.idbr import TASK_RATE

PGP = Projection(spectrum="published")
METHODS: dict[str, Callable[[], LearnerSpec]] = {
    "block-ridge": BlockRidge,
    "ncm": NCM,
    "ranpac": RanPAC,
    "linear-head": LinearHead,
    "ft": FT,
    "ewc": EWC,
    "lwf": LwF,
    "der++": DERpp,
    "icarl": ICaRL,
    "bic": BiC,
    "der+mcg": DER,
    "mbpa++": MBPA,
    "idbr": lambda: IDBR(task_rate=TASK_RATE),
    "slm": SLM,
    "progressive-prompts": ProgressivePrompts,
    "l2p": L2P,
    "l2p+pgp": lambda: L2P(projection=PGP, key_eps=0.97),
    "l2p+soft-tf": lambda: L2P(adapt=SoftMask(layers="10-12")),
    "l2p+pgp+soft-tf": lambda: L2P(adapt=SoftMask(layers="10-12"), projection=PGP, key_eps=0.97),
    "dual-prompt": DualPrompt,
    "dual-prompt+pgp": lambda: DualPrompt(projection=PGP),
    "dual-prompt+soft-tf": lambda: DualPrompt(e_layers="10-12", adapt=SoftMask(layers="10-12")),
    "dual-prompt+adapter": lambda: DualPrompt(e_layers="10-12", adapt=Adapter(layers="all", rank=75, init="soft-tf")),
    "dual-prompt+lora": lambda: DualPrompt(
        e_layers="10-12", adapt=LoRA(layers="10-12", rank=500, dropout=0.1, init="soft-tf")
    ),
    "dual-prompt+wsn": lambda: DualPrompt(e_layers="10-12", adapt=BinaryMask(layers="10-12")),
    "dual-prompt+softnet": lambda: DualPrompt(e_layers="10-12", adapt=SoftNet(layers="10-12")),
    "dual-prompt+pgp+soft-tf": lambda: DualPrompt(adapt=SoftMask(layers="3-5"), projection=PGP),
    "clip-zero-shot": CLIPZeroShot,
    "clip-prompt": CLIPPrompt,
    "clip-prompt+pgp": lambda: CLIPPrompt(projection=Projection(0.9)),
    "clip-prompt+soft-tf": lambda: CLIPPrompt(adapt=SoftMask(layers="3-5")),
    "clip-prompt-published": CLIPPromptPublished,
    "clip-prompt-published+pgp": lambda: CLIPPromptPublished(projection=replace(PGP, eps=0.9)),
    "clip-prompt-published+soft-tf": lambda: CLIPPromptPublished(adapt=SoftMask(layers="3-5")),
}

TITLES = {
    "block-ridge": "BlockRidge (frozen features)",
    "ncm": "NCM (frozen features)",
    "ranpac": "RanPAC (frozen features)",
    "linear-head": "Linear head only",
    "ft": "FT, whole network",
    "ewc": "EWC",
    "lwf": "LwF",
    "der++": "DER++",
    "icarl": "iCaRL",
    "bic": "BiC",
    "der+mcg": "DER + MCG",
    "mbpa++": "MBPA++",
    "idbr": "IDBR",
    "slm": "SLM",
    "progressive-prompts": "Progressive Prompts (task given)",
    "l2p": "L2P",
    "l2p+pgp": "L2P + PGP",
    "l2p+soft-tf": "L2P + Soft-TF",
    "l2p+pgp+soft-tf": "L2P + PGP + Soft-TF",
    "dual-prompt": "DualPrompt",
    "dual-prompt+pgp": "DualPrompt + PGP",
    "dual-prompt+soft-tf": "DualPrompt + Soft-TF",
    "dual-prompt+adapter": "DualPrompt + Adapter",
    "dual-prompt+lora": "DualPrompt + LoRA",
    "dual-prompt+wsn": "DualPrompt + WSN",
    "dual-prompt+softnet": "DualPrompt + SoftNet",
    "dual-prompt+pgp+soft-tf": "DualPrompt + PGP + Soft-TF",
    "clip-zero-shot": "CLIP, zero-shot",
    "clip-prompt": "CLIP-Prompt",
    "clip-prompt+pgp": "CLIP-Prompt + PGP",
    "clip-prompt+soft-tf": "CLIP-Prompt + Soft-TF",
    "clip-prompt-published": "CLIP-Prompt as published",
    "clip-prompt-published+pgp": "CLIP-Prompt as published + PGP",
    "clip-prompt-published+soft-tf": "CLIP-Prompt as published + Soft-TF",
}


def method_named(name: str) -> LearnerSpec:
    """Return a method's learner spec.

    Raises:
        UserError: there is no method of that name.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]()


def adjusted(learner: LearnerSpec, **settings: Any) -> LearnerSpec:
    """Return the learner with those of the settings that it has and that are not None."""
    known = {field.name for field in fields(learner)}
    return replace(learner, **{k: v for k, v in settings.items() if k in known and v is not None})


def mini_epochs(learner: LearnerSpec) -> int:
    """Return how many epochs a learner trains at mini scale: 3, but for those that need another number at any scale."""
    return int(learner.training.get("epochs", 3))
