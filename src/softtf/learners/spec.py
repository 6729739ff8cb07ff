"""The settings of a learner: what a user chooses of a method, and the learner that is made of it."""

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self

from softtf.adaptations.slots import Storage
from softtf.backbones.base import Backbone
from softtf.config.tree import Spec
from softtf.errors import UserError
from softtf.learners.base import Learner
from softtf.learners.divided import ONE_COLUMN
from softtf.learners.earlier import in_todays_words, refuse_earlier_words
from softtf.seeds import derive_seed
from softtf.statistics import STATISTIC_KINDS
from softtf.statistics.base import Amount, asked_for

PROJECTION = 1000  # dimensions of Feature ID's random projection, if the settings do not say
BEFORE_STATISTICS = {"feature_id": 0}
"""What a learner's settings mean that were saved before there was Feature ID."""


@dataclass(frozen=True)
class LearnerSpec(Spec, family="learner"):
    """Base of all learner specs; one in a user's own file registers itself by its `kind`.

    A subclass is a frozen dataclass too, and has `build`. The settings below apply to any method.
    title: the method's name in tables; without one, the kind.
    training: the settings of `TrainConfig` for which the method needs other values. Recipes and `ContinualClassifier`
    start from them, and users can change them like any other setting. reads: the settings of training that the method
    reads, if it does not read all. Users cannot change the others.

    Attributes:
        storage: how a finished task's own parameters are kept, in memory and on disk. `int8` quantises the matrices of
            masks, LoRA, adapters and whole weights, each entry within 1/254 of the largest in its row; heads and
            prompts beside them are float16. A method without such matrices is kept exactly. `float16` keeps all of
            these in float16, `float32` keeps all exactly. WSN's masks always take one bit per entry, exactly.
        feature_id: dimensions M of the random projection whose class statistics Feature ID uses to infer tasks. Each
            task keeps 4 M (M + 1) bytes of sums, and 12 M per class. None: 1,000 (4 MB) if the answer depends on the
            task, else 0, which means no Feature ID.
        mcg: centroids of frozen features per task; MCG infers the task of the nearest one. 0 means no MCG.
        gradient_offset: training examples per task on which Gradient ID's offsets are fitted; 200 is a good start.
            Each costs one answer by Gradient ID. 0 means no offsets.
        sums: how sums are kept: by `task`, or as `one` sum of all tasks, which grows with the classes but not with the
            tasks. With one sum no task or class can be taken out, extended or moved; learners can still be merged.
        gather: other task inferences whose statistics are gathered, such as `my-id`, or `my-id=30` with an amount.
    """

    called: ClassVar[str] = "a method's settings, such as SoftTF()"  # in messages
    title: ClassVar[str] = ""
    training: ClassVar[Mapping[str, Any]] = {}
    reads: ClassVar[tuple[str, ...] | None] = None

    storage: Storage = field(default="int8", kw_only=True)
    feature_id: Amount | None = field(default=None, kw_only=True)
    mcg: Amount = field(default=0, kw_only=True)
    gradient_offset: Amount = field(default=0, kw_only=True)
    sums: Literal["task", "one"] = field(default="task", kw_only=True)
    gather: tuple[str, ...] = field(default=(), kw_only=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.title = vars(cls).get("title", getattr(cls, "kind", cls.__name__))

    def __post_init__(self) -> None:
        refuse_earlier_words(self)
        super().__post_init__()

    @abstractmethod
    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the method's learner before its first task; callers use `new_learner`.

        Raises:
            UserError: a setting does not fit the backbone.
        """

    def check_labels(self, labels: Sequence[Hashable], backbone: Backbone) -> None:  # noqa: B027 - most read none
        """Refuse a stream with these labels before its first task, if the method cannot use one of them.

        Raises:
            UserError: a label cannot be used; `Learner.begin_task` would find this only when its task comes.
        """

    def for_stream(self, count: int) -> "LearnerSpec":
        """Return the spec for a stream of `count` classes, with the settings that depend on the count filled in.

        Raises:
            UserError: the method cannot learn that many classes.
        """
        return self

    @classmethod
    def of_earlier(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Translate the settings that an earlier version saved into today's."""
        return in_todays_words(settings)

    def new_learner(self, backbone: Backbone, seed: int) -> Learner:
        """Return a learner before its first task, with the statistics that the settings ask for.

        Raises:
            UserError: a setting makes no sense, or does not fit the backbone.
        """
        amounts = self.statistics()
        learner = self.build(backbone, seed)
        if self.feature_id is None:
            amounts["feature-id"] = 0 if "none" in learner.policies else PROJECTION
        if self.storage != "int8" and not learner.store_as(self.storage) and self.storage != type(self).storage:
            raise UserError(f"storage: no parameter of this method is one task's own; leave {self.storage} out")
        for name in filter(amounts.get, amounts):
            kind = STATISTIC_KINDS[name]
            if kind.needs not in (None, *learner.task_inferences):
                raise UserError(
                    f"{kind.setting or name}: {self.kind!r} does not infer the task by {kind.needs}, which these"
                    " statistics go with; leave it out"
                )
            learner.statistics[name] = kind(learner.network.backbone.dim, amounts[name], derive_seed(seed, name))
        if self.sums == "one":
            if not learner.can_unite or not (learner.shared_statistics or learner.share_forms(ONE_COLUMN, 1)):
                raise UserError(f"sums: {self.kind!r} keeps no sums that can be one; leave sums='one' out")
            learner.one_sum = True
        return learner

    def filled(self, learner: Learner) -> Self:
        """Return the settings with those filled in that were found out when this learner was built from them."""
        amounts: dict[str, Any] = {name: kind.amount for name, kind in learner.statistics.items()}
        return replace(self, feature_id=amounts.get("feature-id", 0))

    def statistics(self) -> dict[str, int]:
        """Return how much is asked for of each of the statistics, by name.

        Raises:
            UserError: `gather` has an unknown name or an amount out of bounds.
        """
        named = {kind.setting: name for name, kind in STATISTIC_KINDS.items()}
        places = {part.name: named[part.name] for part in fields(self) if part.name in named}
        found = {name: getattr(self, place) or 0 for place, name in places.items()}
        return found | asked_for(self.gather)
