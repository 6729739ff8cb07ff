"""Check a class of your own against the laws that every method here keeps.

For example::

    from softtf.testing import check_adaptation, check_learner

    check_learner(MyMethod())
    check_adaptation(MyScaling(layers="3-4"))

Each function returns nothing, or raises an AssertionError that names the law. Each takes seconds: the backbone is a
random ViT of four blocks in float64 (`tiny_backbone`), the stream three tasks of coloured squares (`task_data`).
"""

from softtf.testing.adaptation import check_adaptation
from softtf.testing.backbone import check_backbone
from softtf.testing.inference import check_inference
from softtf.testing.learner import check_learner
from softtf.testing.metric import check_metric
from softtf.testing.stream import check_stream
from softtf.testing.tiny import inputs, pictures, task_data, tiny_backbone

__all__ = [
    "check_adaptation",
    "check_backbone",
    "check_inference",
    "check_learner",
    "check_metric",
    "check_stream",
    "inputs",
    "pictures",
    "task_data",
    "tiny_backbone",
]
