"""Test sets, policies and settings of scoring, for one scoring or one after each task."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softtf.evaluation.evaluate import BATCH_SIZE, Score, evaluate
from softtf.evaluation.progress import ScoringProgress
from softtf.evaluation.test_data import TestData
from softtf.inference.policy import Policy
from softtf.learners.base import Learner
from softtf.screen import Screen


@dataclass(frozen=True)
class Scorer:
    """Scores learners on the same test sets, with the same settings.

    data: the test sets; column_labels: [classes of all their tasks], the label number of each logit column; policies,
    batch_size, dtype, shuffle_seed: as for `evaluate`.
    """

    data: TestData
    column_labels: Tensor
    policies: Sequence[Policy]
    batch_size: int = BATCH_SIZE
    dtype: torch.dtype = torch.float32
    shuffle_seed: int | None = None

    def score(
        self, learner: Learner, name: str, shown: bool = True, console: Screen | None = None
    ) -> dict[Policy, Score]:
        """Score the tasks that a learner has learned so far.

        Args:
            learner: with at least one task.
            name: the name of the progress bar.
            shown: whether the bar is shown.
            console: where the bar is shown; None for a new console.

        Raises:
            UserError: an input cannot be loaded, or there is not enough memory.
        """
        with ScoringProgress(name, shown, console) as progress:
            return evaluate(
                learner,
                self.data,
                self.column_labels[: learner.num_classes],
                self.policies,
                batch_size=self.batch_size,
                dtype=self.dtype,
                shuffle_seed=self.shuffle_seed,
                on_progress=progress.told,
            )
