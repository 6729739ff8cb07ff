"""The paper's methods by name, as complete learner specs with the layers its runs use (METHOD sections 2, 3, 5)."""

from collections.abc import Callable

from softtf.adaptations import SoftMask
from softtf.errors import unknown
from softtf.learners import EWC, FT, BiC, DERpp, DualPrompt, ICaRL, LearnerSpec, LinearHead, LwF

METHODS: dict[str, Callable[[], LearnerSpec]] = {
    "linear-head": LinearHead,
    "dual-prompt": DualPrompt,
    "dual-prompt+soft-tf": lambda: DualPrompt(e_layers="10-12", adapt=SoftMask(layers="10-12")),
    "ft": FT,
    "ewc": EWC,
    "lwf": LwF,
    "der++": DERpp,
    "icarl": ICaRL,
    "bic": BiC,
}

TITLES = {
    "linear-head": "Linear head only",
    "dual-prompt": "DualPrompt",
    "dual-prompt+soft-tf": "DualPrompt + Soft-TF",
    "ft": "FT",
    "ewc": "EWC",
    "lwf": "LwF",
    "der++": "DER++",
    "icarl": "iCaRL",
    "bic": "BiC",
}


def method_named(name: str) -> LearnerSpec:
    """Return a method's learner spec.

    Raises:
        UserError: there is no method of that name.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]()
