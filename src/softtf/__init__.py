"""Continual learning with frozen pre-trained transformers.

A frozen backbone learns one task after another; what is a task's own never changes afterwards::

    from softtf import ContinualClassifier, DualPrompt, SoftMask

    model = ContinualClassifier(
        "vit_base_patch16_224.orig_in21k",
        DualPrompt(e_layers="10-12", adapt=SoftMask(layers="10-12")),
    )
    for task in stream:
        model.learn(task.train)              # one call is one task; labels may be strings
    labels = model.predict(images)           # the task is inferred for each sample alone
    model.save_pretrained("birds-and-cars")  # safetensors, one file a task; the backbone is named, not copied

What tasks share goes on training: DualPrompt's G-prompt, unless `freeze_g_after_first`; other methods' whole network.

`vit_tiny_patch8_64` is a small backbone that comes with the package and needs no download.
"""

from softtf.adaptations import (
    Adapter,
    BinaryMask,
    Compose,
    FineTuning,
    LoRA,
    NoAdaptation,
    Projection,
    SoftMask,
    SoftNet,
    TaskWeights,
)
from softtf.backbones import Backbone, BackboneSpec, load_backbone
from softtf.classifier import ContinualClassifier
from softtf.errors import TrainingError, UserError
from softtf.evaluation import AccuracyMatrix
from softtf.inference.policy import Policy, parse_policy
from softtf.learners import (
    DER,
    EWC,
    FT,
    IDBR,
    L2P,
    MBPA,
    NCM,
    SLM,
    BiC,
    BlockRidge,
    CLIPPrompt,
    CLIPPromptPublished,
    CLIPZeroShot,
    DERpp,
    DualPrompt,
    ICaRL,
    LinearHead,
    LwF,
    ProgressivePrompts,
    RanPAC,
)
from softtf.streams import Examples, Task, TaskStream, from_datasets, load_source, split_by_class
from softtf.training.gradient import TrainConfig

__all__ = [
    "AccuracyMatrix",
    "Adapter",
    "Backbone",
    "BackboneSpec",
    "BiC",
    "BinaryMask",
    "BlockRidge",
    "CLIPPrompt",
    "CLIPPromptPublished",
    "CLIPZeroShot",
    "Compose",
    "ContinualClassifier",
    "DER",
    "DERpp",
    "DualPrompt",
    "EWC",
    "Examples",
    "FT",
    "FineTuning",
    "ICaRL",
    "IDBR",
    "L2P",
    "LinearHead",
    "LoRA",
    "LwF",
    "MBPA",
    "NCM",
    "NoAdaptation",
    "Policy",
    "ProgressivePrompts",
    "Projection",
    "RanPAC",
    "SLM",
    "SoftMask",
    "SoftNet",
    "Task",
    "TaskStream",
    "TaskWeights",
    "TrainConfig",
    "TrainingError",
    "UserError",
    "from_datasets",
    "load_backbone",
    "load_source",
    "parse_policy",
    "split_by_class",
]
