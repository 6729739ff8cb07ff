"""Which methods are run in which world, and what is smaller there than in the methods' usual settings."""

from collections.abc import Iterable
from dataclasses import dataclass

SHORT = (
    *("--train.epochs", "2", "--train.batch-size", "6", "--train.precision", "float32"),
    *("--device", "cpu", "--seed", "1"),
)
WHERE = {
    "images": ("own-images", "--stream.num-tasks", "3"),
    "clip": ("own-images", "--stream.num-tasks", "3"),
    "texts": ("own-texts", "--backbone.max-tokens", "20", "--stream.task-column", "task", "--stream.num-tasks", "3"),
}
FEATURE_ID, MCG = ("--learner.feature-id", "12"), ("--learner.mcg", "2")
OFFSET = ("--learner.gradient-offset", "4")  # for learners that Gradient ID serves

PROMPTS, WEIGHTS, CLIPS = "2.0", "0.1", "0.05"  # rates at which a few steps change the answers

SMALLER: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ranpac", "block-ridge", "fly-cl"), ("--learner.projection", "24")),
    "ranpac-fsa": ("--learner.projection", "24", "--learner.adapt.rank", "4"),
    "ease": ("--learner.adapt.rank", "4"),
    **dict.fromkeys(
        ("mos", "tuna"), ("--learner.rank", "4", "--learner.align-epochs", "2", "--learner.align-samples", "8")
    ),
    **dict.fromkeys(
        ("hide-prompt", "hide-prompt+soft-tf", "norga", "norga+soft-tf"),
        ("--learner.length", "3", "--learner.align-epochs", "2", "--learner.align-samples", "8"),
    ),
    "slca": ("--learner.align-epochs", "2", "--learner.align-samples", "8"),
    "klda": ("--learner.projection", "16", "--learner.maps", "2"),
    "ewc": ("--learner.fisher-samples", "5"),
    **dict.fromkeys(("der++", "icarl", "bic"), ("--learner.exemplars", "14")),
    "der+mcg": ("--learner.exemplars", "14", *MCG),
    "mbpa++": (
        *("--learner.write", "0.5", "--learner.replay-every", "2"),
        *("--learner.neighbours", "4", "--learner.steps", "3"),
    ),
    "idbr": ("--learner.share", "0.3", "--learner.replay-every", "2", "--learner.code", "12"),
    "slm": ("--learner.keys", "2", "--learner.groups", "4", "--learner.increments.rank", "4"),
    "progressive-prompts": ("--learner.length", "3", "--learner.mlp", "12"),
    **dict.fromkeys(
        ("l2p", "l2p+pgp", "l2p+soft-tf", "l2p+pgp+soft-tf"),
        ("--learner.pool-size", "6", "--learner.length", "2", "--learner.top-k", "3"),
    ),
    **dict.fromkeys(("coda-prompt", "coda-prompt+soft-tf"), ("--learner.components", "2", "--learner.length", "4")),
    "dual-prompt+adapter": ("--learner.adapt.rank", "4"),
    "dual-prompt+lora": ("--learner.adapt.rank", "6"),
}
WHOLE = {"ft", "ewc", "lwf", "der++", "icarl", "bic", "der+mcg", "mbpa++", "idbr"}  # train the whole network
SOLVED = {
    "block-ridge",
    "fly-cl",
    "klda",
    "layup",
    "ncm",
    "ranpac",
    "clip-zero-shot",
}  # have neither steps nor a rate
ONLY_TEXTS = {"idbr"}
COMPOSED = {"coda-prompt", "hide-prompt", "norga", "l2p", "l2p+pgp", "dual-prompt+pgp", "clip-prompt-published"}
"""With masks beside them are made of methods that are also stopped and learned from Python, and so not once more."""
FULLY_ON_TEXTS = {"mbpa++", "idbr", "slm", "progressive-prompts", "dual-prompt+soft-tf", "ranpac", "block-ridge"}
"""Are also stopped and learned from Python on texts; the others are so on images."""
ALSO_ON_CLIP = {"dual-prompt", "ncm"}


@dataclass(frozen=True)
class Case:
    """One method in one world; `fully`: also stopped, gone on with, and learned from Python."""

    world: str
    method: str
    fully: bool

    @property
    def name(self) -> str:
        """What the record calls it."""
        return f"{self.world} {self.method}"

    @property
    def recipe(self) -> tuple[str, ...]:
        """The recipe and how its data are read."""
        return WHERE[self.world]

    def statistics(self, usual: Iterable[str]) -> tuple[str, ...]:
        """Return the options that make a learner gather every statistic it can serve; `usual` are its policies."""
        return FEATURE_ID + MCG * (self.method != "der+mcg") + OFFSET * ("gradient-id" in usual)

    def policies(self, usual: Iterable[str]) -> list[str]:
        """Return the policies to score a finished learner under: its usual ones, and further ones that it supports."""
        found = list(usual)
        for code in usual:
            inference = code.partition(":")[0]
            if inference not in ("oracle", "none"):
                found += [inference, f"{inference}:own", f"{inference}:batch24", f"{inference}:batch3"]
                found += [f"{inference}:joint"] * (inference in ("feature-id", "mcg"))
        if "prompt-id" in usual:
            found += ["prompt-id:vote3", "gradient-id:2-shot/3:own", "gradient-id-full"]
        if self.method.startswith("dual-prompt+") and self.method != "dual-prompt+pgp":
            found.append("gradient-id-key-prompts")
        return list(dict.fromkeys(found))

    @property
    def options(self) -> tuple[str, ...]:
        """Of `softtf run`, but for the recipe, the data and the backbone."""
        rate = WEIGHTS if self.method in WHOLE else CLIPS if self.method.startswith("clip") else PROMPTS
        steps = SHORT[4:] if self.method in SOLVED else (*SHORT, "--train.learning-rate", rate)
        return ("--method", self.method, *steps, *SMALLER.get(self.method, ()))


def cases(methods: list[str]) -> list[Case]:
    """Return every method's cases; `methods` are those that `softtf list methods` names."""
    found = []
    for method in methods:
        if method == "soft-tf":  # another name of block-ridge
            continue
        clip, texts = method.startswith("clip"), method in ONLY_TEXTS
        composed = method.endswith("+soft-tf") and method.removesuffix("+soft-tf") in COMPOSED
        if not clip and not texts:
            found.append(Case("images", method, not composed))
        if not clip:
            found.append(Case("texts", method, method in FULLY_ON_TEXTS))
        if clip or method in ALSO_ON_CLIP:
            found.append(Case("clip", method, clip and not composed))
    return found
