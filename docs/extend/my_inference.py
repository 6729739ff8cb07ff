"""A task inference with its statistics: the task whose mean feature is nearest."""

import torch

from softtf.inference import TaskInference
from softtf.statistics import FeatureStatistics, TensorForm


class TaskMeans(FeatureStatistics):
    name = "task-mean"

    def forms(self, labels, tasks):
        return {"means": TensorForm((tasks, self.dim))}

    def gather(self, known, features, columns, labels):
        mean = features.mean(0, keepdim=True)
        return {"means": torch.cat([known["means"], mean]) if known else mean}


class TaskMean(TaskInference):
    name = "task-mean"
    title = "Nearest task mean"
    needs_query = True

    def scores(self, learner, shared):
        means = learner.gathered[self.name]["means"].to(shared.query)
        return -(shared.query[:, None] - means).norm(dim=2)
