"""Check every example of this folder against the laws: `python docs/extend/check.py`."""

import my_adaptation
import my_backbone
import my_inference
import my_lda
import my_method
import my_metric
import my_smoothed
import my_source
import torch

from softtf import load_source, split_by_class
from softtf.testing import (
    check_adaptation,
    check_backbone,
    check_inference,
    check_learner,
    check_metric,
    check_stream,
)


def exact():
    backbone = my_backbone.Small().double()
    backbone.compute_dtype = torch.float64
    return backbone


check_learner(my_method.ClassMeans())
check_learner(my_lda.LDA())
check_learner(my_smoothed.Smoothed())
check_adaptation(my_adaptation.Scaling(layers="3-4"))
check_inference(my_inference.TaskMean)
check_backbone(exact)
check_stream(split_by_class(*load_source("rows"), num_tasks=4))
assert load_source("rows")[0].labels == my_source.rows()[0].labels
check_metric(my_metric.plasticity.__name__)
print("all laws hold")
