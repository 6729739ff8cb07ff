"""The paper's methods by name, as complete learner specs with the layers its runs use (METHOD sections 2, 3, 5)."""

from collections.abc import Callable

from softtf.adaptations import Adapter, BinaryMask, LoRA, SoftMask, SoftNet
from softtf.errors import unknown
from softtf.learners import DER, EWC, FT, NCM, BiC, DERpp, DualPrompt, ICaRL, LearnerSpec, LinearHead, LwF, RanPAC

METHODS: dict[str, Callable[[], LearnerSpec]] = {
    "ncm": NCM,
    "ranpac": RanPAC,
    "linear-head": LinearHead,
    "dual-prompt": DualPrompt,
    "dual-prompt+soft-tf": lambda: DualPrompt(e_layers="10-12", adapt=SoftMask(layers="10-12")),
    "dual-prompt+adapter": lambda: DualPrompt(e_layers="10-12", adapt=Adapter(layers="all", rank=75)),
    "dual-prompt+lora": lambda: DualPrompt(e_layers="10-12", adapt=LoRA(layers="10-12", rank=500)),
    "dual-prompt+wsn": lambda: DualPrompt(e_layers="10-12", adapt=BinaryMask(layers="10-12")),
    "dual-prompt+softnet": lambda: DualPrompt(e_layers="10-12", adapt=SoftNet(layers="10-12")),
    "ft": FT,
    "ewc": EWC,
    "lwf": LwF,
    "der++": DERpp,
    "icarl": ICaRL,
    "bic": BiC,
    "der+mcg": DER,
}

TITLES = {
    "ncm": "NCM (frozen features)",
    "ranpac": "RanPAC (frozen features)",
    "linear-head": "Linear head only",
    "dual-prompt": "DualPrompt",
    "dual-prompt+soft-tf": "DualPrompt + Soft-TF",
    "dual-prompt+adapter": "DualPrompt + Adapter",
    "dual-prompt+lora": "DualPrompt + LoRA",
    "dual-prompt+wsn": "DualPrompt + WSN",
    "dual-prompt+softnet": "DualPrompt + SoftNet",
    "ft": "FT",
    "ewc": "EWC",
    "lwf": "LwF",
    "der++": "DER++",
    "icarl": "iCaRL",
    "bic": "BiC",
    "der+mcg": "DER + MCG",
}


def method_named(name: str) -> LearnerSpec:
    """Return a method's learner spec.

    Raises:
        UserError: there is no method of that name.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]()
