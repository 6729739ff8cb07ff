"""The rows of a table: the paper's words, the training run, and the policies.

Rows that differ only in their policy (Prompt ID or Gradient ID, n-shot) share a training run. It is scored under all
policies of its kind in one pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from softtf.config.names import PAPER_BATCH
from softtf.recipes.methods import known_methods
from softtf.recipes.presets import TO_THE_END, Scale

Settings = Mapping[str, Any]

ATTN = "only attn"

# What a run is scored under, by what the method can do. `none`: its answer needs no task.
NO_TASK = ("none", "oracle")
BY_GATE = ("mcg:own", "none", "oracle")
VOTE = f"prompt-id:vote{PAPER_BATCH}"
BY_KEY = ("prompt-id", VOTE, "oracle")
BY_GRADIENT = (*BY_KEY, "gradient-id", f"gradient-id:batch{PAPER_BATCH}")
BY_SHOTS = (*BY_GRADIENT, *(f"gradient-id:{n}-shot/{PAPER_BATCH}" for n in (3, 5, 7)))
ONE_TASK = ("prompt-id", "oracle")

PAPER_POLICIES = {  # what the paper's words mean (METHOD section 4)
    "Prompt ID": VOTE,
    "Gradient ID": f"gradient-id:batch{PAPER_BATCH}",
    "Gradient ID, m-batch": f"gradient-id:batch{PAPER_BATCH}",
    "Gradient ID, batch": f"gradient-id:batch{PAPER_BATCH}",
} | {f"Gradient ID, {n}-shot": f"gradient-id:{n}-shot/{PAPER_BATCH}" for n in (3, 5, 7)}
OUR_POLICIES = {
    "Feature ID, joint": "feature-id:joint",
    "TII": "tii",
    "given": "oracle",
}  # of rows that are not the paper's


@dataclass(frozen=True)
class Trained:
    """A training run without its stream and seed.

    Attributes:
        method: its name (`known_methods`).
        settings: what differs from the method's recipe, by dotted name.
        on: what differs further on the stream of one recipe.
        mini: what differs further at mini scale.
        policies: what it is scored under.
        clip: whether it needs a CLIP: at full scale CLIP_VIT_B, unless the command names another.
    """

    method: str
    settings: Settings = field(default_factory=dict)
    on: Mapping[str, Settings] = field(default_factory=dict)
    mini: Settings = field(default_factory=dict)
    policies: tuple[str, ...] = BY_KEY
    clip: bool = False


@dataclass(frozen=True)
class TableRow:
    """One row. The name, task_id, backbone and setting are the paper's words; they find the row's results in the paper.

    Attributes:
        name: the method.
        task_id: how the paper infers the task.
        trained: what we train for it.
        backbone: what the backbone was pre-trained on.
        setting: a further column of the paper's table.
    """

    name: str
    task_id: str
    trained: Trained
    backbone: str = ""
    setting: str = ""

    @property
    def title(self) -> str:
        """The row's name with all that distinguishes it from other rows, except the policy."""
        backbone = "" if self.trained.clip else self.backbone  # ours may be another CLIP than the paper's
        return ", ".join(part for part in (self.name, backbone, self.setting) if part)

    @property
    def papers_policy(self) -> str:
        """The code of the paper's policy; in a row of ours, of our policy; the run's first where none is named."""
        return (PAPER_POLICIES | OUR_POLICIES).get(self.task_id, self.trained.policies[0])

    @property
    def policy(self) -> str | None:
        """The code of the paper's policy if ours can be scored under it (in L2P a batch shares prompts, not a task)."""
        if self.task_id in OUR_POLICIES or self.papers_policy not in self.trained.policies:
            return None
        return self.papers_policy

    @property
    def per_sample(self) -> str | None:
        """The code of the same task inference with every sample answered alone; None where the task must be given."""
        if self.papers_policy == "oracle":
            return None
        from softtf.inference.policy import parse_policy
        from softtf.inference.pooling import PER_SAMPLE

        alone = replace(parse_policy(self.papers_policy), pooling=PER_SAMPLE).code
        return alone if alone in self.trained.policies else self.trained.policies[0]

    @property
    def trained_on_stream(self) -> bool:
        """Whether it is trained on the stream's tasks, and not on all classes at once."""
        return "stream.num_tasks" not in self.trained.settings

    def left_out(self, scale: Scale, settings: Settings | None = None) -> str | None:
        """Return why the row cannot be run with the command's settings; None if it can."""
        if self.trained.method not in known_methods():
            return f"there is no method {self.trained.method!r} here yet"
        if scale == "mini" and "backbone.name" in self.trained.settings:
            return "at mini scale there is one backbone, the bundled ViT"
        if scale == "mini" and self.trained.clip and "backbone.name" not in (settings or {}):
            return "it needs a CLIP, and softtf brings no small one: give a folder with --set backbone.name=FOLDER"
        return None


@dataclass(frozen=True)
class Table:
    """A table of the paper, or an ablation in its manner.

    Attributes:
        name: its number, or a word.
        caption: what it shows.
        streams: the recipes whose streams it is about.
        rows: in the paper's order.
        notes: remarks on the paper's results.
        mean: whether the mean over all its streams is printed too.
    """

    name: str
    caption: str
    streams: tuple[str, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    mean: bool = False


DUAL_PROMPT = Trained("dual-prompt")
DUAL_PROMPT_PGP = Trained("dual-prompt+pgp")


def soft_tf(layers: str, targets: str = "w/o FF", method: str = "dual-prompt+soft-tf", **settings: Any) -> Trained:
    """Return DualPrompt with soft masks; its E-prompt is where the masks are if these are on layers 3-5, else at 10-12.

    `settings` are named without their prefix, such as init="xavier" for learner.adapt.init. Only what Tables 9 and
    10 ask for is scored under n-shot policies.
    """
    shots = targets == "w/o FF" and layers in ("12", "10-12") and method == "dual-prompt+soft-tf" and not settings
    adapt = {"layers": layers, "targets": targets, **settings}
    return Trained(method, _adapt(adapt, layers), policies=BY_SHOTS if shots else BY_GRADIENT)


def wsn(keep: float, layers: str = "10-12", targets: str = "w/o FF") -> Trained:
    """Return DualPrompt with WSN's hard masks, which keep `keep` percent of each matrix."""
    adapt = {"layers": layers, "targets": targets, "keep": keep}
    return Trained("dual-prompt+wsn", _adapt(adapt, layers), policies=BY_GRADIENT)


def low_rank(method: str, layers: str, rank: int) -> Trained:
    """Return DualPrompt with LoRA or adapters of a rank, which `at_scale` lowers where the backbone is small."""
    return Trained(method, _adapt({"layers": layers, "rank": rank}, layers))


def l2p(method: str = "l2p", layers: str | None = None) -> Trained:
    """Return L2P, with or without soft masks."""
    adapt = {} if layers is None else {"learner.adapt.layers": layers, "learner.adapt.targets": "w/o FF"}
    return Trained(method, adapt, policies=NO_TASK if layers is None else BY_GRADIENT)


def rehearsal(method: str, exemplars: int) -> Trained:
    """Return a method that keeps so many exemplars (at mini scale, the same share of fewer images)."""
    policies = BY_GATE if method == "der+mcg" else NO_TASK
    return Trained(method, {"learner.exemplars": exemplars}, policies=policies)


def plain(method: str) -> Trained:
    """Return a method whose answer needs no task, in its own settings."""
    return Trained(method, policies=NO_TASK)


def imported(kind: str) -> Trained:
    """Return a user's own learner, scored under its usual policies; it is built once to ask for these."""
    from softtf.backbones import BackboneSpec, load_backbone
    from softtf.errors import UserError
    from softtf.recipes.recipes import method_named
    from softtf.runs.config import EvaluateConfig

    try:
        learner = method_named(kind).new_learner(load_backbone(BackboneSpec()), 0)
    except UserError:  # it is for other backbones than the bundled one
        return plain(kind)
    return Trained(kind, policies=tuple(policy.code for policy in EvaluateConfig().policies_for(learner)))


def upper_bound(trained: Trained) -> Trained:
    """Return the same training on all classes at once.

    Its epochs are as many steps as the whole stream has. At mini scale the three of the other rows leave a loss that
    still falls, and a bound below what it bounds: it trains to the end, for 20 with a rate that falls to zero.
    """
    settings = {**trained.settings, "stream.num_tasks": 1}
    policies = NO_TASK if trained.policies == NO_TASK else ONE_TASK
    return Trained(trained.method, settings, trained.on, {**trained.mini, **TO_THE_END}, policies, trained.clip)


def clip(method: str, layers: str | None = None) -> Trained:
    """Return a method on a CLIP; with `layers`, CLIP-Prompt whose image tower is masked there (qkv and proj).

    At mini scale a CLIP is small, knows few words and has few steps: the rate that lowers CLIP-Prompt's loss most on
    the one of scripts/train_tiny_clip.py is 400 times that of a full one. As published the first task has a tenth, and
    gradients are clipped as where that rate was chosen.
    """
    settings = {} if layers is None else {"learner.adapt.layers": layers}
    mini = {"train.learning_rate": 6.4} if method.startswith("clip-prompt") else {}
    if method.startswith("clip-prompt-published"):
        mini |= {"train.first_task_learning_rate": 0.64, "train.clip_norm": 1.0}
    return Trained(method, settings, mini=mini, policies=NO_TASK if layers is None else BY_GRADIENT, clip=True)


def on_backbone(trained: Trained, name: str) -> Trained:
    """Return the same training on another backbone of timm."""
    settings = {**trained.settings, "backbone.name": name}
    return Trained(trained.method, settings, trained.on, trained.mini, trained.policies)


def _adapt(settings: Settings, layers: str) -> dict[str, Any]:
    """Return the settings of `learner.adapt` by dotted name, and the layers of the E-prompt."""
    e_layers = layers if layers == "3-5" else "10-12"
    return {"learner.e_layers": e_layers} | {f"learner.adapt.{name}": value for name, value in settings.items()}
