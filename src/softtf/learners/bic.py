"""BiC, bias correction (Wu et al., 2019): exemplars, distillation, and a two-parameter correction per task.

Stage 1: the loss is (1 - r) * cross-entropy over all classes seen (`classes`) + r * distillation from the network
before the task (temperature 2), on new data and exemplars; r is the share of old classes. Stage 2, from the second task
on: the new task's logits o become alpha * o + beta. The two parameters are fitted on a small balanced set that stage 1
did not train on. A task's correction never changes; answers use it, as do both sides of later distillation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.backbones.base import Backbone, Tokens
from softtf.files.tensor_form import Forms, TensorForm
from softtf.learners.base import Batch, Learner
from softtf.learners.distilling import Teacher, distillation
from softtf.learners.fine_tuning import FineTunedLearner
from softtf.learners.minimise import minimise
from softtf.learners.rehearsing import Exemplars, RehearsalSpec, features_of
from softtf.learners.task_data import TaskData
from softtf.seeds import derive_seed
from softtf.streams import Loader

TEMPERATURE = 2.0
HELD_OUT = 10  # one in so many exemplars is held out
PULL = 0.1  # regulariser towards no correction, added to the sum over examples; keeps alpha finite on separable data
ALPHA, BETA = "alpha", "beta"


@dataclass(frozen=True)
class BiC(RehearsalSpec, kind="bic"):
    """Fine-tune the whole network with exemplars, then correct the bias towards the new task's classes.

    The correction has examples of its own: a tenth of each class's exemplars (at least one), and as many of each new
    class. The paper's stage 1 compares all classes `seen`. With `classes="own"`, new examples are compared with the
    task's own classes and exemplars with all (`softtf.learners.spans`). Stage 2 always compares all classes seen.
    """

    title = "BiC"

    least = 2  # one to train on and one to hold out

    def build(self, backbone: Backbone, seed: int) -> Learner:
        """Return the learner."""
        return BiCLearner(backbone, seed, self)


class BiCLearner(FineTunedLearner):
    """Remembers every task's alpha and beta besides the exemplars."""

    held_out = torch.zeros(0, dtype=torch.int64)

    def __init__(self, backbone: Backbone, seed: int, spec: BiC) -> None:
        super().__init__(backbone, spec.tune, seed, spec.classes)
        self.teacher, self.exemplars = Teacher(), Exemplars(spec.exemplars, spec.least)

    def begin_task(self, data: TaskData) -> None:
        """Open the task, rehearse the exemplars, copy the network, and hold examples out."""
        self.exemplars.rehearse(self.memory, data)
        super().begin_task(data)
        self.teacher.copy(self)
        self.hold_out(data.targets)

    def end_task(self, data: TaskData) -> None:
        """Fit the correction, choose exemplars, close the task, and release the copy."""
        self.correct(data.loader)
        self.exemplars.choose(self, data.loader, F.normalize(features_of(data.loader, self.features)))
        super().end_task(data)
        self.teacher.forget()

    def hold_out(self, targets: Tensor) -> None:
        """Hold out equally many examples of each class, but never a class's last; targets: [n], on the CPU."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "held out", self.task))
        shuffled = torch.randperm(len(targets), generator=generator)
        members = [shuffled[targets[shuffled] == column] for column in range(self.num_classes)]
        smallest = min(map(len, members))
        count = min(max(1, min(len(m) for m in members[: self.num_old]) // HELD_OUT), smallest - 1) if self.task else 0
        self.held_out = torch.cat([rows[:count] for rows in members])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return both terms of stage 1; examples that are held out do not count."""
        logits = self.corrected(self.all_logits(batch.inputs))
        kept = (~torch.isin(batch.rows, self.held_out)).to(logits)
        share = self.num_old / logits.shape[1]
        cross_entropy = self.cross_entropy(logits, batch.targets, "none")
        losses = {"cross_entropy": (1 - share) * _mean(cross_entropy, kept)}
        if self.task:
            before = self.corrected(self.teacher.logits(batch.inputs))
            old = distillation(logits[:, : self.num_old], before, TEMPERATURE)
            losses["distillation"] = share * _mean(old, kept)
        return losses

    def corrected(self, logits: Tensor) -> Tensor:
        """Return logits [b, columns] with each task's correction; the current task has none until it is fitted."""
        alpha, beta = self._corrections()
        tasks = self.column_tasks()[: logits.shape[1]]
        return logits * alpha[tasks].to(logits) + beta[tasks].to(logits)

    def _corrections(self) -> tuple[Tensor, Tensor]:
        """Return alpha and beta [tasks]; 1 and 0 where they are not fitted yet."""
        nothing = torch.zeros(0)
        alpha, beta = self.memory.get(ALPHA, nothing), self.memory.get(BETA, nothing)
        more = self.num_tasks - len(alpha)
        return torch.cat([alpha, torch.ones(more)]), torch.cat([beta, torch.zeros(more)])

    def logits(self, trunk: Tokens, task: int) -> Tensor:
        """Return the corrected logits [batch, classes seen]."""
        return self.corrected(super().logits(trunk, task))

    def memory_forms(self, labels: Tensor) -> Forms:
        """Return the forms of the corrections and of the exemplars."""
        return {**self.exemplars.forms(self), **dict.fromkeys((ALPHA, BETA), TensorForm((self.num_tasks,)))}

    def correct(self, loader: Loader) -> None:
        """Fit the newest task's correction (stage 2)."""
        alpha, beta = self._corrections()
        if len(self.held_out):
            with torch.no_grad():
                logits = self.corrected(self.all_logits(loader.prepared(loader.loaded(self.held_out.tolist()))))
            fitted = fit_correction(logits.cpu(), loader.targets.cpu()[self.held_out], self.num_old)
            alpha, beta = (torch.cat([old[:-1], new.float()]) for old, new in zip((alpha, beta), fitted, strict=True))
        self.memory = self.memory | {ALPHA: alpha, BETA: beta}


def fit_correction(logits: Tensor, targets: Tensor, num_old: int) -> tuple[Tensor, Tensor]:
    """Return alpha and beta, each [1], that minimise the cross-entropy of the corrected logits: a convex problem.

    A weak regulariser towards 1 and 0 keeps them finite.

    Args:
        logits: [n, columns], those of the newest task uncorrected.
        targets: [n], columns.
        num_old: how many columns stay as they are.
    """
    logits = logits.double()
    change = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # alpha - 1 and beta

    def loss() -> Tensor:
        new = logits[:, num_old:] * (1 + change[0]) + change[1]
        corrected = torch.cat([logits[:, :num_old], new], 1)
        return F.cross_entropy(corrected, targets) + PULL / len(targets) * change.square().sum()

    minimise(loss, [change], rounds=100)
    found = change.detach()
    return 1 + found[:1], found[1:]


def _mean(values: Tensor, kept: Tensor) -> Tensor:
    """Return the mean of the values that are kept; zero if there are none."""
    return (values * kept).sum() / kept.sum().clamp(min=1)
