"""DER++, dark experience replay (Buzzega et al., 2020): old examples are replayed with the logits they once had.

Loss (their equation 6): cross-entropy of the batch + alpha * |logits - stored logits|^2 of one draw from the buffer +
beta * cross-entropy of another draw. The buffer is a reservoir of all examples that training saw, each once per epoch,
with the logits of that moment. Logits stored when fewer classes were known are compared over those classes. The square
is a mean over classes, as in public implementations; alpha has the same scale as theirs.

Public code (mammoth) has a logit for every class of the stream from the first step on, in both cross-entropies and in
the stored logits. This is `classes="all"`, and the number of classes must be known. Answers are always among the
classes seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from softtf.adaptations.fine_tuning import FineTuning
from softtf.backbones.base import Backbone
from softtf.config.bounds import Count, NonNegative
from softtf.errors import UserError
from softtf.files.tensor_form import INTEGERS, Forms, TensorForm
from softtf.learners.base import Batch, Learner
from softtf.learners.fine_tuning import WHOLE_NETWORK, FineTunedLearner
from softtf.learners.foreseen import ForeseenHeads
from softtf.learners.spans import AnyClasses
from softtf.learners.spec import LearnerSpec
from softtf.learners.task_data import TaskData
from softtf.memory import Reservoir, concatenate, concatenated_forms, separate
from softtf.seeds import derive_seed
from softtf.streams import Loader, join

BUFFER = "buffer."
EXAMPLES, LOGITS, COLUMNS, SEEN = (BUFFER + name for name in ("examples", "logits", "columns", "seen"))


@dataclass(frozen=True)
class DERpp(LearnerSpec, kind="der++"):
    """Fine-tune the whole network; replay a reservoir of examples with their labels and logits.

    Attributes:
        exemplars: examples that the buffer holds in all.
        alpha: weight of the distance to stored logits.
        beta: weight of the cross-entropy on stored labels.
        tune: the weights that are trained.
        classes: the classes that new examples are compared with: all classes `seen`; the task's `own`, while replayed
            labels are still compared with all seen (ER-ACE, `softtf.learners.spans`); or `all` of the stream, as in
            published code.
        total_classes: with `all`, the number of classes of the stream; a run fills it in.
    """

    title = "DER++"
    training = WHOLE_NETWORK
    exemplars: Count = 2000
    alpha: NonNegative = 0.2
    beta: NonNegative = 0.5
    tune: FineTuning = FineTuning()
    classes: AnyClasses = "seen"
    total_classes: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.total_classes is not None and self.classes != "all":
            raise UserError(f"total_classes goes with classes='all'; with {self.classes!r} leave it out")

    def for_stream(self, count: int) -> "DERpp":
        """Return the spec with the stream's number of classes where needed; raises UserError if there are too many."""
        if self.total_classes is not None and count > self.total_classes:
            raise UserError(f"total_classes is {self.total_classes}, too few for {count} classes; give that many")
        unknown = self.classes == "all" and self.total_classes is None
        return replace(self, total_classes=count) if unknown else self

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner.

        Raises:
            UserError: classes="all" without the number of classes.
        """
        if self.classes == "all" and self.total_classes is None:
            raise UserError(
                "classes='all' needs to know how many classes the stream has; give total_classes=... (a run knows it)"
            )
        return DERppLearner(backbone, seed, self)


class Kept(NamedTuple):
    """One item of the buffer: an example in its loaded form, its column, its logits [classes seen then, or all]."""

    example: Tensor
    column: int
    logits: Tensor

    def __deepcopy__(self, memo: object) -> "Kept":
        return self  # it is replaced, never changed


class DERppLearner(FineTunedLearner):
    """Cross-entropy on new examples and on two draws from the buffer, in one forward pass."""

    def __init__(self, backbone: Backbone, seed: int, spec: DERpp) -> None:
        self.spec = spec
        self.loader: Loader | None = None
        generator = torch.Generator().manual_seed(derive_seed(seed, "shared"))
        heads = ForeseenHeads(backbone.dim, spec.total_classes, generator) if spec.total_classes else None
        super().__init__(backbone, spec.tune, seed, spec.classes, heads)

    def all_logits(self, inputs: Tensor) -> Tensor:
        """Return logits [b, classes seen, or all of the stream] of prepared inputs [b, ...]."""
        heads = self.network.heads
        if isinstance(heads, ForeseenHeads):
            return heads.whole(self.features(inputs))
        return super().all_logits(inputs)

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the buffer."""
        example, size, most = self.network.backbone.preparation.loaded_form, self.spec.exemplars, self.num_classes
        logits = TensorForm((range(1, (self.spec.total_classes or most) + 1),))

        def fits(seen: Tensor, others: Mapping[str, Tensor]) -> bool:
            return min(int(seen), size) == len(others[COLUMNS])

        return {
            COLUMNS: TensorForm(("buffer",), INTEGERS, 0, most - 1),
            SEEN: TensorForm((), INTEGERS, 1, 2**53, rule=fits, words="how many examples the buffer was offered"),
            **concatenated_forms(EXAMPLES, "buffer", example),
            **concatenated_forms(LOGITS, "buffer", logits),
        }

    @property
    def memory(self) -> dict[str, Tensor]:
        """The buffer as tensors; they are built on request, as the buffer changes at each step."""
        kept = self.buffer.items
        if not kept:
            return self.other_memory
        numbers = {COLUMNS: torch.tensor([k.column for k in kept]), SEEN: torch.tensor(self.buffer.seen)}
        tensors = concatenate(EXAMPLES, [k.example for k in kept]) | concatenate(LOGITS, [k.logits for k in kept])
        return self.other_memory | tensors | numbers

    @memory.setter
    def memory(self, memory: dict[str, Tensor]) -> None:
        columns: list[int] = memory[COLUMNS].tolist() if COLUMNS in memory else []
        parts = zip(separate(EXAMPLES, memory), columns, separate(LOGITS, memory), strict=True)
        self.buffer = Reservoir(self.spec.exemplars, [Kept(*part) for part in parts], int(memory.get(SEEN, 0)))
        self.other_memory = {name: value for name, value in memory.items() if not name.startswith(BUFFER)}

    def begin_task(self, data: TaskData) -> None:
        """Open the task, and keep its loader.

        Raises:
            UserError: there are more classes than `total_classes`.
        """
        self.spec.for_stream(len(data.column_labels))
        super().begin_task(data)
        self.loader = data.loader

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the three terms, and offer the batch to the buffer."""
        assert self.loader is not None
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "buffer", self.task, batch.step))
        dark, labelled = (self.buffer.draw(len(batch.rows), generator) for _ in range(2))
        drawn = [self.loader.prepared([k.example for k in kept], generator) for kept in (dark, labelled) if kept]
        logits = self.all_logits(join([batch.inputs, *drawn]))
        new, of_dark, of_labelled = logits.split([len(batch.rows), len(dark), len(labelled)])
        self._offer(batch, new, generator)
        nothing = logits.new_zeros(())
        columns = torch.tensor([k.column for k in labelled], device=logits.device)
        return {
            "cross_entropy": self.cross_entropy(new, batch.targets),
            "stored_logits": self.spec.alpha * distance(of_dark, [k.logits for k in dark]) if dark else nothing,
            "stored_labels": self.spec.beta * F.cross_entropy(of_labelled, columns) if labelled else nothing,
        }

    @torch.no_grad()
    def _offer(self, batch: Batch, logits: Tensor, generator: torch.Generator) -> None:
        assert self.loader is not None
        places = [self.buffer.offer(generator) for _ in batch.rows]
        chosen = {place: i for i, place in enumerate(places) if place is not None}  # the later of two at one place wins
        examples = self.loader.loaded(batch.rows[list(chosen.values())].tolist())
        columns, stored = batch.targets.tolist(), logits.float().cpu()
        for (place, i), example in zip(chosen.items(), examples, strict=True):
            self.buffer.put(place, Kept(example.clone(), columns[i], stored[i].clone()))

    def end_task(self, data: TaskData) -> None:
        """Close the task, and release its loader."""
        super().end_task(data)
        self.loader = None


def distance(logits: Tensor, stored: list[Tensor]) -> Tensor:
    """Return the mean over examples of the mean squared distance from stored logits, over the classes known then.

    logits: [b, classes seen, or all]; stored: b of [classes seen then, or all].
    """
    widths = torch.tensor([len(row) for row in stored], device=logits.device)
    target = pad_sequence(stored, batch_first=True).to(logits)
    known = torch.arange(target.shape[1], device=logits.device) < widths[:, None]
    squared = (logits[:, : target.shape[1]] - target).square() * known
    return (squared.sum(1) / widths).mean()
