"""One task's network as a plain model of timm or transformers: W * m merged into the weights, the head behind it.

The folder loads with the library's own call:

    timm.create_model("local-dir:FOLDER", pretrained=True)
    transformers.AutoModel.from_pretrained("FOLDER")

The timm model has the head, and gives the task's logits. transformers has no model with just such a head behind each
kind of encoder, so the head is in head.safetensors beside it: logits = features weight^T + bias.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from softtf.adaptations.base import Adaptation
from softtf.adaptations.slots import Heads
from softtf.backbones.base import Backbone
from softtf.backbones.bert import Bert
from softtf.backbones.timm_vit import TimmViT
from softtf.backbones.transformers_files import ask
from softtf.devices.memory import needs_memory
from softtf.errors import UserError
from softtf.export.files import CHECKED, on_cpu, require_close, sample_inputs, write_about
from softtf.files.new_folder import new_folder
from softtf.files.tensors import save_tensors
from softtf.learners.base import Learner
from softtf.learners.knowledge import Finished
from softtf.network import SharedPass
from softtf.streams.images import ImagePreparation

HOOKS = ("prefix", "gate", "prepended", "appended")


@needs_memory("export the task")
def export_task(folder: Path, finished: Finished, task: int) -> dict[str, Any]:
    """Write one task's network as a plain model into a new folder, and check that it answers like it.

    Args:
        folder: new or empty.
        finished: what was learned.
        task: its number, from 0.

    Returns:
        the content of `export.json`; `largest_difference` is that of a probability of the task's classes.

    Raises:
        UserError: what the task trained is no weight, the backbone is of no such library, the folder is not empty, or
            the model answers otherwise.
    """
    learner, labels = on_cpu(finished.learner), finished.classes.tasks[task]
    _check_mergeable(learner)
    with new_folder(folder) as place, learner.computing_in(torch.float32), torch.no_grad():
        merged = _merged(learner, task)
        head = {name: learner.network.heads.value(task, name) for name in ("weight", "bias")}
        inputs = sample_inputs(learner.network.backbone, CHECKED)
        names = [str(label) for label in labels]
        if isinstance(merged, TimmViT):
            how, found = _timm(place, merged, head, names, inputs)
        else:
            how, found = _transformers(place, merged, head, names, inputs)
        trunk = SharedPass(learner.network, inputs).trunk
        right = learner.logits(trunk, task)[:, learner.task_columns(task)]
        about = {
            "task": finished.classes.names[task],
            "labels": names,
            **how,
            "largest_difference": require_close(found.softmax(1), right.softmax(1)),
        }
        write_about(place, about)
    return about


def _check_mergeable(learner: Learner) -> None:
    """Refuse a learner whose tasks are more than weights and a head; raises UserError."""
    network, kind = learner.network, learner.method
    if type(learner).logits is not Learner.logits or type(network.heads) is not Heads:
        raise UserError(f"one task of {kind} is no plain model: it has an answer of its own; export the whole learner")
    for adaptation in network.adaptations:
        assert isinstance(adaptation, Adaptation)
        own = [name for name in HOOKS if getattr(type(adaptation), name) is not getattr(Adaptation, name)]
        if (
            own and adaptation.task_blocks | adaptation.shared_blocks
        ) or adaptation.output_sites - adaptation.weight_sites:
            raise UserError(
                f"one task of {kind} is no plain model: {type(adaptation).__name__} is no part of a weight; export the"
                " whole learner"
            )
    if not isinstance(network.backbone, TimmViT | Bert):
        raise UserError(f"backbone {network.backbone.name!r} is no plain model of timm, or encoder of transformers")


def _merged(learner: Learner, task: int) -> Backbone:
    """Return a copy of the backbone with the task's weights in place of its own."""
    backbone = deepcopy(learner.network.backbone)
    for site, weight in learner.network.merged_weights(task).items():
        backbone.linear(*site).weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    return backbone


def _timm(
    place: Path, backbone: TimmViT, head: dict[str, Tensor], names: list[str], inputs: Tensor
) -> tuple[dict[str, Any], Tensor]:
    """Write a model of timm; return how it loads, and its logits for prepared inputs after loading it again."""
    from timm.models import save_for_hf

    vit: Any = backbone.vit
    if not (getattr(vit, "pretrained_cfg", None) or {}).get("architecture"):
        raise UserError(f"backbone {backbone.name!r} was not built by timm.create_model, which could not load it again")
    vit.reset_classifier(len(names))
    vit.head.load_state_dict(head)
    mean, std = (value.flatten().tolist() for value in (backbone.mean, backbone.std))
    size, how = backbone.image_size, backbone.preparation
    assert isinstance(how, ImagePreparation)
    about: dict[str, Any] = {"input_size": (3, size, size), "mean": mean, "std": std, "interpolation": "bicubic"}
    about |= {"crop_pct": size / how.resize, "crop_mode": "center"}
    save_for_hf(vit, str(place), {"label_names": names}, safe_serialization=True, data_config=about)
    loaded = timm.create_model(f"local-dir:{place.resolve()}", pretrained=True).eval()
    return {"library": "timm"}, loaded((inputs - backbone.mean) / backbone.std)


def _transformers(
    place: Path, backbone: Any, head: dict[str, Tensor], names: list[str], inputs: Tensor
) -> tuple[dict[str, Any], Tensor]:
    """Write an encoder of transformers and the head; return how its features are read, and the logits."""
    from transformers import MODEL_MAPPING, AutoModel, PreTrainedTokenizerFast

    config = deepcopy(backbone.config)
    config.id2label, config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    with torch.device("meta"):
        model = MODEL_MAPPING[type(config)]._from_config(config)
    model.embeddings = backbone.embeddings
    if hasattr(model, "embeddings_project"):
        model.embeddings_project = backbone.project
    (model.transformer if hasattr(model, "transformer") else model.encoder).layer = backbone.blocks
    if hasattr(model, "pooler"):
        model.pooler = backbone.pooler
    model.save_pretrained(place)
    PreTrainedTokenizerFast(tokenizer_object=backbone.preparation.tokenizer).save_pretrained(place)
    save_tensors(place / "head.safetensors", head)
    options = {"add_pooling_layer": backbone.pooler is not None} if hasattr(model, "pooler") else {}
    mask = inputs >= 0
    loaded = ask(backbone.name, lambda: AutoModel.from_pretrained(place, **options)).eval()  # nosec B615: a folder here
    out = loaded(input_ids=inputs.where(mask, backbone.pad), attention_mask=mask.long())
    if backbone.pooling == "pooler":
        features = out.pooler_output
    elif backbone.pooling == "mean":
        features = (out.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    else:
        features = out.last_hidden_state[:, 0]
    return {"library": "transformers", "pooling": backbone.pooling}, nn.functional.linear(features, *head.values())
