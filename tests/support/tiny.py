"""A tiny frozen ViT, noise for images, and learners trained on them for a few steps: what most core tests use."""

import copy
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from softtf.adaptations import SoftMask
from softtf.adaptations.task_keys import TaskKeys
from softtf.backbones import Backbone
from softtf.backbones.clip import ClipImage, byte_ids
from softtf.backbones.timm_vit import TimmViT
from softtf.classifier import ContinualClassifier
from softtf.inference.policy import usual_policy
from softtf.learners import CLIPPrompt, CLIPZeroShot, ClosedFormLearner, DualPrompt, Learner, LearnerSpec
from softtf.learners.aligned import AlignedLearner
from softtf.learners.class_table import ClassTable
from softtf.learners.der import DERLearner
from softtf.learners.ease import EASELearner
from softtf.learners.idbr import IDBRLearner
from softtf.learners.progressive_prompts import ProgressivePromptsLearner
from softtf.learners.spec import PROJECTION
from softtf.learners.text_heads import TextHeads
from softtf.network import SharedPass
from softtf.streams import Examples
from softtf.training.config import TrainConfig
from softtf.training.data import begin_training
from softtf.training.task import TaskTraining

MEAN, STD = (0.4, 0.5, 0.6), (0.3, 0.25, 0.2)
CLASSES = (3, 2, 4)  # of tasks 1, 2, 3
TRAIN = TrainConfig(epochs=1, batch_size=4, learning_rate=3.2, precision="float32")  # Adam's rate is 0.05
SOFT_TF = DualPrompt(e_layers=(2, 3), adapt=SoftMask((3, 4), "w/ FF", "uniform(0.5,1.5)"))
SMALL_PROJECTION, USUAL_PROJECTION = 24, PROJECTION  # of Feature ID, if a classifier gathers it by itself
LABELS = ("a", 1, ("t", 2), "b", 7, "c", ("t", 3), -1, "d")


def tiny_vit(seed: int = 0, **options: Any) -> VisionTransformer:
    """A random ViT; its biases and norms are noise too, so that one that is forgotten shows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = {"img_size": 16, "patch_size": 8, "depth": 4, "embed_dim": 32, "num_heads": 2, "num_classes": 0}
        vit = VisionTransformer(**(sizes | options)).eval()
        for parameter in vit.parameters():
            torch.nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.2)
    return vit.requires_grad_(False)


def tiny_backbone(seed: int = 0, **options: Any) -> TimmViT:
    """The tiny ViT in float64."""
    backbone = TimmViT(tiny_vit(seed, **options), "tiny", MEAN, STD).double()
    backbone.compute_dtype = torch.float64
    return backbone


def tiny_clip_model(seed: int = 0, vocabulary: int = 258, depth: int = 4) -> Any:
    """A random CLIP of transformers; every parameter is noise, so that one that is forgotten shows."""
    from transformers import CLIPConfig, CLIPModel

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
    vision = {**sizes, "num_hidden_layers": depth, "image_size": 16, "patch_size": 8}
    text = {**sizes, "hidden_size": 24, "num_hidden_layers": 4, "max_position_embeddings": 40, "vocab_size": vocabulary}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ends = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1}
        clip = CLIPModel(CLIPConfig(vision_config=vision, text_config=text | ends, projection_dim=20))
        for name, parameter in clip.named_parameters():
            norm = parameter.ndim == 1 and "norm" in name and name.endswith("weight")
            torch.nn.init.normal_(parameter, mean=1.0 if norm else 0.0, std=0.2)
        clip.logit_scale.data.fill_(2.0)
    return clip.eval().requires_grad_(False)


def tiny_clip(seed: int = 0, **options: int) -> ClipImage:
    """The tiny CLIP in float64; texts are read byte by byte."""
    model = tiny_clip_model(seed, **options)
    backbone = ClipImage(model, partial(byte_ids, start=256, end=257), "tiny CLIP", MEAN, STD).double()
    backbone.compute_dtype = backbone.text.compute_dtype = torch.float64
    return backbone


def backbone_for(spec: LearnerSpec) -> Backbone:
    """A tiny backbone that a learner can be built on."""
    return tiny_clip() if isinstance(spec, CLIPPrompt | CLIPZeroShot) else tiny_backbone()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def inputs(n: int, seed: int = 0, size: int = 16) -> Tensor:
    """Prepared images [n, 3, size, size] in [0, 1]."""
    return torch.rand(n, 3, size, size, generator=generator(seed), dtype=torch.float64)


def pictures(n: int, seed: int = 0) -> Tensor:
    """Raw images of one to sixteen colours, uint8 [n, 16, 16, 3]: they differ more than pixel noise would."""
    colours = torch.randint(0, 256, (n, 4, 4, 3), dtype=torch.uint8, generator=generator(seed))
    colours[::2] = colours[::2, :1, :1]
    return colours.repeat_interleave(4, 1).repeat_interleave(4, 2)


def task_labels(task: int) -> tuple[Hashable, ...]:
    start = sum(CLASSES[:task])
    return LABELS[start : start + CLASSES[task]]


def task_data(task: int, per_class: int = 4, seed: int = 0) -> Examples:
    """Images of noise for one task, some four of each class."""
    labels = [label for label in task_labels(task) for _ in range(per_class)]
    return Examples(list(pictures(len(labels), 100 * seed + task)), labels, f"task {task + 1}")


def training_of(spec: LearnerSpec, config: TrainConfig = TRAIN) -> TrainConfig:
    """Those of some settings of training that a method reads, and its own for the rest."""
    if spec.reads is None:
        return config
    return replace(TrainConfig(**spec.training), **{name: getattr(config, name) for name in spec.reads})


def train_task(learner: Learner, classes: ClassTable, task: int, config: TrainConfig = TRAIN) -> TaskTraining:
    """Learn one task by the real training loop."""
    training = begin_training(learner, classes, task_data(task), f"task {task + 1}", config)
    while not training.finished:
        training.run_epoch()
    training.finish()
    return training


def bare(spec: LearnerSpec) -> LearnerSpec:
    """The settings without statistics, unless they ask for them."""
    return replace(spec, feature_id=spec.feature_id or 0)


def classifier(
    spec: LearnerSpec, tasks: int = 3, backbone: Backbone | None = None, **options: Any
) -> ContinualClassifier:
    """A classifier that learned `tasks` tasks and answers by the method's own task inference.

    It gathers no statistics but those asked for.
    """
    spec = bare(spec)
    own = usual_policy(spec.new_learner(backbone_for(spec), 0).policies)
    share = TrainConfig(**spec.training).learning_rate / TrainConfig().learning_rate  # what prompts need ruins weights
    options = {
        "train": training_of(spec, replace(TRAIN, learning_rate=share * TRAIN.learning_rate)),
        "device": "cpu",
        "seed": 3,
        "inference": own,
    } | options
    model = ContinualClassifier(backbone or backbone_for(spec), spec, **options)
    for task in range(tasks):
        model.learn(task_data(task), progress=False)
    return model


def exact(model: ContinualClassifier) -> ContinualClassifier:
    """The same classifier with everything in float64."""
    model.learner.double()
    model.dtype = torch.float64
    return model


@cache
def _trained(spec: LearnerSpec, tasks: int) -> ContinualClassifier:
    return classifier(spec, tasks)


def trained(spec: LearnerSpec, tasks: int = 3) -> ContinualClassifier:
    """A copy of a classifier that learned as `classifier` does; training is done once per spec."""
    return copy.deepcopy(_trained(spec, tasks))


@cache
def _learned(spec: LearnerSpec, tasks: int) -> ContinualClassifier:
    return spread(exact(trained(spec, tasks)))


@torch.no_grad()
def spread(model: ContinualClassifier) -> ContinualClassifier:
    """Turn heads and keys away from what all images have in common, so that answers differ between samples."""
    if isinstance(model.learner, (ClosedFormLearner, DERLearner, AlignedLearner, EASELearner)):
        return model  # they do
    network, tasks = model.learner.network, model.num_tasks
    read = model.learner.codes if isinstance(model.learner, IDBRLearner) else torch.nn.Identity()  # by the heads
    alpha = torch.full((20, tasks), 1 / tasks, dtype=torch.float64)
    with model.learner.computing_in(torch.float64):
        shared = SharedPass(network, inputs(20))
        tops = [network.top(shared.trunk, task=t) for t in range(tasks)]
        if not isinstance(model.learner, ProgressivePromptsLearner):  # whose tasks have no mixture
            tops.append(network.top(shared.trunk, mixture=alpha))
    apart = torch.stack([read(top).std(0).mean() for top in tops]).mean()
    larger = {"weight": max(1.0, 0.1 / float(apart))}  # where features differ by little, heads must see that
    common = {"weight": torch.stack([read(top).mean(0) for top in tops]), "key": shared.query.mean(0, keepdim=True)}
    head = "weight"
    if isinstance(network.heads, TextHeads):
        head, projection = "features", network.heads.projection
        common["features"] = common["weight"] @ projection.T
    modules = [
        (network.heads, head),
        *((keys, "key") for keys in model.learner.extra_slots.values() if isinstance(keys, TaskKeys)),
    ]
    for module, name in modules:
        away = torch.linalg.svd(common[name], full_matrices=False).Vh
        for task in range(tasks):
            value = module.value(task, name)
            value.copy_(larger.get(name, 1) * noise(*value.shape, seed=task))
            value.sub_(value @ away.T @ away)
    return model


def empty(spec: LearnerSpec = SOFT_TF, **options: Any) -> ContinualClassifier:
    """A classifier before its first task."""
    return ContinualClassifier(tiny_backbone(), spec, TRAIN, device="cpu", seed=3, **options)


def learned(spec: LearnerSpec, tasks: int = 3) -> ContinualClassifier:
    """A copy of a trained float64 classifier with varied answers; training is done once per spec."""
    return copy.deepcopy(_learned(spec, tasks))


def snapshot(learner: Learner) -> dict[str, Tensor]:
    """Copies of every parameter, slots and shared, by name; slots that later tasks go on training are shared."""
    values = {f"shared/{n}": v.clone() for n, v in learner.shared_state_dict().items()}
    modules = {name: slots for name, slots in learner.slot_modules().items() if not slots.retrained}
    for task in range(learner.num_tasks):
        for name, slots in modules.items():
            values |= {f"{task}/{name}.{n}": v.clone() for n, v in slots.task_state_dict(task).items()}
    return values


def mask_values(slot: Mapping[str, Tensor]) -> dict[tuple[int, str], Tensor]:
    """The masks in a slot by block and weight; quantised ones written out as 1 + steps * codes."""
    masks = {}
    for key in (k for k in slot if not k.endswith("_steps")):
        steps = slot.get(f"{key}_steps")
        masks[int(key[5:7]) - 1, key[8:]] = slot[key] if steps is None else 1 + steps * slot[key].to(steps)
    return masks


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Equal bit for bit."""
    assert actual.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(actual[name], expected[name])]
    assert not different


def held_out(tasks: Sequence[int]) -> list[Examples]:
    return [task_data(t, per_class=3, seed=9) for t in tasks]
