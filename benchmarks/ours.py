"""`python -m benchmarks.ours BATCH THREADS PRECISION VARIANT`: softtf's side of `--against`, call by call.

Its calls (`benchmarks.calls`) are those of `benchmarks.published`, on ViT-B/16 with random weights and noise, and
`twin`: a training step of the twin (`benchmarks.twin`), which has the same learner.
"""

import sys
from functools import cache

import torch
from torch import Tensor

from benchmarks.calls import answer_calls
from benchmarks.inference import one_tasks_test
from benchmarks.setup import CPU, learner_with
from benchmarks.training import RATE, VARIANTS, pairs
from benchmarks.twin import TwinTraining, twin_of
from softtf.devices.device import Precision
from softtf.evaluation.evaluate import evaluate
from softtf.inference.policy import Policy
from softtf.learners import Learner
from softtf.training.task import TaskTraining


class Ours:
    """DualPrompt + Soft-TF, trained in one of `benchmarks.training.VARIANTS`; answers are per sample, in float32."""

    def __init__(self, batch: int, precision: Precision, variant: int) -> None:
        self.backbone = CPU["vit-b"].load()
        self.batch, self.precision, self.variant = batch, precision, VARIANTS[variant]
        size = self.backbone.preparation.size
        self.pixels = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8)
        self.training, self.twin, self.learner = cache(self._training), cache(self._twin), cache(self._learner)

    def call(self, name: str, tasks: int = 0) -> None:
        """Make a call."""
        if name == "train":
            self.training().run_epoch()
            return
        if name == "twin":
            naive, batches = self.twin()
            naive.run(batches)
            return
        learner = self.learner(tasks)
        data, columns = one_tasks_test(learner, self.pixels), torch.arange(learner.num_classes)
        evaluate(learner, data, columns, [Policy(name)])

    def _training(self) -> TaskTraining:
        return self.variant.begin(self.backbone, self.batch, 1, precision=self.precision)

    def _twin(self) -> tuple[TwinTraining, list[tuple[Tensor, Tensor]]]:
        return TwinTraining(twin_of(self.training().learner), RATE), pairs(self.training())

    def _learner(self, tasks: int) -> Learner:
        return learner_with(self.backbone, tasks)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    answer_calls(Ours(int(sys.argv[1]), "float32" if sys.argv[3] == "float32" else "auto", int(sys.argv[4])).call)
