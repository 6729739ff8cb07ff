"""What stands behind an answer: other labels, tasks, networks, nearest classes, and how unknown the input is."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from softtf.config.arguments import checked
from softtf.config.bounds import Count, FalseRejection
from softtf.config.tree import check_value
from softtf.devices.torch_state import with_own_settings
from softtf.inference.attention_map import attending, attention_map, first_view
from softtf.inference.predict import Answers, test_loader
from softtf.inference.predictor import Inputs, Predictor, labels_of
from softtf.inference.unknown import USUAL_RATE, Unknown, can_tell, told_apart
from softtf.learners.base import Learner

NEAREST = 5
Ranked = tuple[tuple[Hashable, float], ...]
"""Labels with a number each, the largest first."""


@dataclass(frozen=True)
class Explanation:
    """What stands behind the answer to one input.

    Attributes:
        label: the answer.
        probability: of the label.
        top: the likeliest labels and their probabilities.
        task: the name of the task that was named.
        tasks: each task's name and the probability of its classes together.
        networks: the names of the tasks whose networks answered; none where tasks have no networks of their own.
        unknown: the share of known inputs that are more familiar; None where the learner cannot tell.
        nearest: the nearest classes by familiarity: by how much each is likelier than the mean of all, in logarithms
            (`softtf.statistics.familiarity`); none where the learner cannot tell.
        attention: [rows, columns], the attention to each patch in the last block, mean over heads, of the named task's
            network, or of the frozen backbone if the method reads that alone; None for a text.
    """

    label: Hashable
    probability: float
    top: Ranked
    task: str
    tasks: tuple[tuple[str, float], ...]
    networks: tuple[str, ...]
    unknown: float | None
    nearest: Ranked
    attention: Tensor | None


class Explaining(Predictor):
    """A predictor that says more than the label."""

    @with_own_settings
    def top_k(self, inputs: Inputs, k: int = 5, **options: Any) -> list[list[tuple[Hashable, float]]]:
        """Return the k likeliest labels of each input with their probabilities, the likeliest first.

        All labels, where fewer than k are known. Options as for `predict`.

        Raises:
            UserError: as `predict`, or k is no whole number from 1 on.
        """
        answers = self.answer(inputs, **options)
        found = ranked(labels_of(answers), answers.classes.labels, check_value(Count, k, "k"))
        return [list(one) for one in found]

    def predict_unknown(self, inputs: Inputs, **options: Any) -> Tensor:
        """Return how unknown each input is, [inputs], float64 from 0 to 1: the share of known inputs more familiar.

        By the training data, about 5% of new inputs of the learned classes are above 0.95, and more of the inputs of
        other classes. Each input is looked at alone. Options as for `predict`.

        Raises:
            UserError: as `predict`; or the learner keeps no sums that tell it (the default does, and methods with
                `feature_id=1000`).
        """
        found = self.answer(inputs, unknown=True, **options).unknown
        assert found is not None
        return found

    @checked
    def evaluate_unknown(
        self, known: Inputs, unknown: Inputs, false_rejection: FalseRejection = USUAL_RATE
    ) -> dict[str, float]:
        """Measure how well unknown inputs are told from known ones.

        Args:
            known: inputs of classes that were learned, but not those that they were learned from.
            unknown: inputs of other classes.
            false_rejection: as for `predict`.

        Returns:
            `auroc`, and the shares of known and unknown inputs that are rejected: `known_rejected`,
            `unknown_rejected`; all in percent.
        """
        return told_apart(self.predict_unknown(known), self.predict_unknown(unknown), false_rejection)

    @with_own_settings
    def explain(self, inputs: Inputs, **options: Any) -> list[Explanation]:
        """Return what stands behind the answer to each input. Options as for `predict`.

        Raises:
            UserError: as `predict`.
        """
        while True:
            finished = self._finished()
            telling = self._unknown(finished) if can_tell(finished) else None
            answers = self.answer(inputs, unknown=telling is not None, **options)
            if answers.classes is finished.classes:
                break  # else a task was finished in between
        loader = test_loader(self.examples(inputs), finished.learner.network.backbone, 1)
        top = ranked(labels_of(answers), answers.classes.labels, NEAREST)
        named = zip(self.named(answers), top, strict=True)
        return [
            self._explained(finished.learner, telling, answers, loader.inputs([i]), i, *each)
            for i, each in enumerate(named)
        ]

    @torch.no_grad()
    def _explained(
        self,
        learner: Learner,
        telling: Unknown | None,
        answers: Answers,
        batch: Tensor,
        place: int,
        named: tuple[Hashable, float, int],
        top: Ranked,
    ) -> Explanation:
        """Explain the answer to the input at `place`, which a batch of one holds."""
        label, probability, task = named
        names = answers.classes.names
        by_task = torch.zeros(len(names)).index_add_(0, learner.column_tasks(), answers.probabilities[place])
        networks = answers.networks[place].tolist() if learner.answer_depends_on_task else []
        network, nearest, seen = attending(learner.network), list[Ranked](), None
        with learner.computing_in(self.dtype):
            if telling is not None:
                nearest = ranked(telling.by_label(learner, batch), answers.classes.labels, NEAREST)
            if not network.backbone.reads_text:
                seen = attention_map(network, first_view(batch), task, network.backbone.depth - 1)[0].cpu()
        return Explanation(
            label=label,
            probability=probability,
            top=top,
            task=names[task],
            tasks=tuple(zip(names, by_task.tolist(), strict=True)),
            networks=tuple(name for name, share in zip(names, networks, strict=False) if share),
            unknown=None if answers.unknown is None else float(answers.unknown[place]),
            nearest=nearest[0] if nearest else (),
            attention=seen,
        )


def ranked(values: Tensor, labels: list[Hashable], k: int) -> list[Ranked]:
    """Return for each row of values [n, labels] its k largest, and whose they are."""
    best = values.topk(min(k, len(labels)), 1)
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [tuple((labels[i], value) for i, value in zip(*row, strict=True)) for row in rows]
