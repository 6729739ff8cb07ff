"""Tiny frozen models and data, the same bits on every machine: all numbers are integers over a power of two."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, CLIPConfig, CLIPModel, PreTrainedTokenizerFast

CLASSES = (("ant", "bee", "cat"), ("dog", "elk"), ("fox", "gnu"))
TOPICS = (("art", "sport", "money"), ("law", "art"), ("food", "war"))
"""Of three tasks, in the order of learning; `art` is a label of two."""
SPLITS = {"train": 6, "test": 4}  # examples a class
SIZE = 16
SIZES = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}
VIT = {"img_size": SIZE, "patch_size": 8, "depth": 12, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 1.5}
MEAN, STD = (0.5, 0.375, 0.625), (0.25, 0.25, 0.25)
PAD, START, END = 0, 1, 258  # of the tokenizer; CLIP reads a text's feature at the largest number


@dataclass(frozen=True)
class World:
    """A frozen model in a folder, a stream in files, and the inputs and labels of each task."""

    backbone: Path
    source: Path
    train: tuple[tuple[list[Any], list[str]], ...]
    test: tuple[tuple[list[Any], list[str]], ...]


def images(folder: Path) -> World:
    """Pictures for a ViT of twelve layers, so that the layers which methods usually edit are there."""
    return World(vit(folder / "vit"), *pictures(folder / "pictures"))


def clip(folder: Path) -> World:
    """The pictures for a CLIP of six layers."""
    return World(clip_model(folder / "clip"), *pictures(folder / "pictures"))


def texts(folder: Path) -> World:
    """A file of texts with a column of tasks, two of which share a label, for an encoder of six layers."""
    folder.mkdir(parents=True)
    return World(bert(folder / "bert"), *_sentences(folder / "texts.csv"))


def vit(folder: Path, **sizes: Any) -> Path:
    """A ViT as timm saves one."""
    folder.mkdir(parents=True)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **VIT | sizes)
    save_file(_noise(model.state_dict()), folder / "model.safetensors")
    about = {"input_size": [3, SIZE, SIZE], "mean": MEAN, "std": STD}
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 0, "model_args": VIT | sizes}
    (folder / "config.json").write_text(json.dumps(config | {"pretrained_cfg": about}))
    return folder


def bert(folder: Path) -> Path:
    """A BERT as transformers saves one."""
    config = BertConfig(**SIZES, num_hidden_layers=6, max_position_embeddings=40, vocab_size=END + 1, pad_token_id=PAD)
    return _transformer(BertModel(config, add_pooling_layer=False), folder)


def clip_model(folder: Path) -> Path:
    """A CLIP as transformers saves one."""
    vision = SIZES | {"num_hidden_layers": 6, "image_size": SIZE, "patch_size": 8}
    ends = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": PAD}
    text = SIZES | ends | {"num_hidden_layers": 4, "max_position_embeddings": 48, "vocab_size": END + 1}
    _transformer(CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=24)), folder)
    settings = {"image_mean": MEAN, "image_std": STD, "size": SIZE}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def _transformer(model: Any, folder: Path) -> Path:
    model.load_state_dict(_noise(model.state_dict()))
    model.save_pretrained(folder)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(["[PAD]", "[CLS]", *letters, "[SEP]"])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $0 [SEP]", special_tokens=[("[CLS]", START), ("[SEP]", END)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(folder)
    return folder


def _noise(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Noise for every parameter, norms and biases too, so that one which is forgotten shows."""
    draw = np.random.default_rng(0)
    noisy = {}
    for name, value in sorted(state.items()):
        if not value.is_floating_point():
            noisy[name] = value
            continue
        numbers = draw.integers(-1023, 1024, tuple(value.shape)) / 4096
        numbers *= 4 if "embed" in name else 1  # so that inputs differ by more than what all have in common
        scale = name.endswith("weight") and value.ndim == 1
        noisy[name] = torch.tensor(numbers + scale, dtype=torch.float32)
    if "logit_scale" in noisy:
        noisy["logit_scale"] = torch.tensor(3.0)
    return noisy


def pictures(folder: Path, kind: str = "png") -> tuple[Path, Any, Any]:
    """Pictures of four by four fields: a class's colours, each field moved by noise."""
    names = [name for task in CLASSES for name in task]
    draw = np.random.default_rng(1)
    colours = draw.integers(0, 256, (len(names), 4, 4, 3))
    found: dict[str, Any] = {split: [([], []) for _ in CLASSES] for split in SPLITS}
    for split, count in SPLITS.items():
        for task, classes in enumerate(CLASSES):
            for name in classes:
                place = folder / split / name
                place.mkdir(parents=True, exist_ok=True)
                for i in range(count):
                    moved = colours[names.index(name)] + draw.integers(-110, 111, (4, 4, 3))
                    fields = moved.clip(0, 255).astype(np.uint8).repeat(5, 0).repeat(6, 1)
                    Image.fromarray(fields).save(place / f"{i}.{kind}")
                    found[split][task][0].append(place / f"{i}.{kind}")
                    found[split][task][1].append(name)
    return folder, *(tuple(found[split]) for split in SPLITS)


def _sentences(file: Path) -> tuple[Path, Any, Any]:
    """Words of three letters, of which each class has its usual ones."""
    draw = np.random.default_rng(2)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    usual = {name: draw.choice(letters, 5) for task in TOPICS for name in task}
    found: dict[str, Any] = {split: [([], []) for _ in TOPICS] for split in SPLITS}
    with file.open("w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["text", "label", "task", "split"])
        for split, count in SPLITS.items():
            for task, classes in enumerate(TOPICS):
                for name in classes:
                    for i in range(count):
                        words = ["".join(draw.choice(usual[name], 3)) for _ in range(2 + i % 4)]
                        text = " ".join([*words, draw.choice(letters)])
                        rows.writerow([text, name, f"part {task}", split])
                        found[split][task][0].append(text)
                        found[split][task][1].append(name)
    return file, *(tuple(found[split]) for split in SPLITS)
