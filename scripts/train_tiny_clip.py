"""Train a tiny CLIP from nothing on CIFAR-100, so that continual learning on a CLIP can be tried without a download.

    python scripts/train_tiny_clip.py CIFAR100_FOLDER OUTPUT [--epochs 20] [--minutes 30]

What it is, and is not. Its pairs are images of 60 CIFAR-100 classes (drawn by a fixed seed) and captions made of their
names by eight templates: 30,000 images and 60 names, not 400 million pairs of the web. It knows those 60 words, spelt
in bytes, and nothing of other names: zero-shot accuracy on the other 40 classes is little above chance, as it must be.
OUTPUT/clip is a folder that transformers and softtf load by its path. OUTPUT/stream holds the images of the *other* 40
classes, which it never saw, as parquet files: streams made of those are what it is to be tried on. Numbers on it say
how methods compare on this model; they are no numbers of CLIP.

The loss is CLIP's contrastive one, over the 60 distinct captions of a step's templates and the step's images. Half of
the patches are left out in training (Li et al., 2023: FLIP), but for the last tenth. Training stops at a checkpoint
after `--minutes` and goes on when called again; it is done after `--epochs`.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from softtf.streams.folders import read_parquet

SEEN, SIZE, PATCH, BATCH = 60, 32, 4, 256
MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
TEMPLATES = (
    *("a photo of a {}.", "a small photo of a {}.", "a blurry photo of a {}.", "a cropped photo of a {}."),
    *("a picture of a {}.", "an image of one {}.", "{}.", "a good photo of the {}."),
)


def tokenizer_of(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer with bytes for a vocabulary: no pair is merged, and no word is known that others are not."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    letters = [chr(b) for b in printable] + [chr(256 + n) for n in range(len(others))]  # GPT-2's letters for bytes
    names = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=48)
    tokenizer.save_pretrained(folder)
    return tokenizer


def model_of(tokenizer: CLIPTokenizer, width: int = 128, depth: int = 6) -> CLIPModel:
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": 2, "num_hidden_layers": 2}
    text |= {"max_position_embeddings": 48, "vocab_size": len(tokenizer), "pad_token_id": ends["eos_token_id"], **ends}
    vision = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": 2}
    vision |= {"num_hidden_layers": depth, "image_size": SIZE, "patch_size": PATCH}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=width)
    config._attn_implementation = "eager"
    return CLIPModel(config)


def data_of(source: Path) -> tuple[list[str], list[int]]:
    """Names of all classes, and the labels of those that CLIP is to see."""
    names = (source / "labels.txt").read_text().split()
    return names, sorted(random.Random(0).sample(range(len(names)), SEEN))


def images_of(source: Path, split: str, labels: list[int]) -> tuple[Tensor, Tensor]:
    """uint8 [n, 3, 32, 32] and their classes' places in `labels` [n]."""
    rows = read_parquet(sorted(source.glob(f"{split}*.parquet")))
    rows = rows.cast_column("image", Image())
    place = {label: i for i, label in enumerate(labels)}
    rows = rows.select([i for i, label in enumerate(rows["label"]) if label in place])
    pixels = np.stack([np.asarray(row["image"].convert("RGB")) for row in rows])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.tensor([place[label] for label in rows["label"]])


def write_stream(source: Path, folder: Path, names: list[str], seen: list[int]) -> None:
    """Write the classes that were not seen as a folder of parquet files that softtf reads."""
    folder.mkdir(parents=True, exist_ok=True)
    others = [label for label in range(len(names)) if label not in seen]
    place = {label: i for i, label in enumerate(others)}
    for split in ("train", "test"):
        rows = read_parquet(sorted(source.glob(f"{split}*.parquet")))
        rows = rows.filter(lambda row: row["label"] in place)
        rows.map(lambda row: {"label": place[row["label"]]}).to_parquet(folder / f"{split}.parquet")
    (folder / "labels.txt").write_text("\n".join(names[label] for label in others) + "\n")


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shifted by up to 4 pixels and mirrored, normalised: float [b, 3, 32, 32]."""
    padded = F.pad(images, (4, 4, 4, 4))
    top, left = torch.randint(0, 9, (2, len(images)), generator=generator)
    rows, columns = top[:, None] + torch.arange(SIZE), left[:, None] + torch.arange(SIZE)
    flipped = torch.rand(len(images), generator=generator) < 0.5
    columns = torch.where(flipped[:, None], columns.flip(1), columns)
    cut = padded[torch.arange(len(images))[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return normalised(cut.permute(0, 3, 1, 2))


def normalised(images: Tensor) -> Tensor:
    return (images.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def image_features(model: CLIPModel, images: Tensor, keep: float, generator: torch.Generator) -> Tensor:
    """CLIP's image features, at length 1, of a random share `keep` of the patches."""
    vision = model.vision_model
    tokens = vision.embeddings(images)
    if keep < 1:
        kept = (
            torch.rand(len(images), tokens.shape[1] - 1, generator=generator).topk(int(keep * tokens.shape[1])).indices
        )
        kept = torch.cat([kept.new_zeros(len(images), 1), kept + 1], 1)
        tokens = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[2]))
    hidden = vision.encoder(inputs_embeds=vision.pre_layrnorm(tokens)).last_hidden_state
    return F.normalize(model.visual_projection(vision.post_layernorm(hidden[:, 0])).float(), dim=-1)


def text_features(model: CLIPModel, tokenizer: CLIPTokenizer, names: list[str], templates: list[str]) -> Tensor:
    captions = [t.format(n.replace("_", " ")) for n, t in zip(names, templates, strict=True)]
    tokens = tokenizer(captions, padding=True, return_tensors="pt")
    return F.normalize(model.text_projection(model.text_model(**tokens).pooler_output).float(), dim=-1)


def contrastive(logits: Tensor, labels: Tensor) -> Tensor:
    """Both directions of CLIP's loss for logits [images, captions]; a caption may be that of several images."""
    to_text = F.cross_entropy(logits, labels)
    own = F.one_hot(labels, logits.shape[1]).T.float()
    own = own[own.sum(1) > 0]
    to_image = -(own * logits.T[torch.unique(labels)].log_softmax(1)).sum(1) / own.sum(1)
    return (to_text + to_image.mean()) / 2


@torch.no_grad()
def accuracy(model: CLIPModel, tokenizer: CLIPTokenizer, images: Tensor, labels: Tensor, names: list[str]) -> float:
    texts = text_features(model, tokenizer, names, [TEMPLATES[0]] * len(names))
    with torch.autocast("cpu", torch.bfloat16):
        found = [image_features(model, normalised(part), 1.0, torch.Generator()) for part in images.split(500)]
    return ((torch.cat(found) @ texts.T).argmax(1) == labels).float().mean().item() * 100


def save(path: Path, model: CLIPModel, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()} | {"epoch": torch.tensor(epoch)}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{k}": v for k, v in state.items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def load(path: Path, model: CLIPModel, optimizer: torch.optim.Optimizer) -> int:
    tensors = load_file(path)
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model/")})
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            states.setdefault(int(key.split("/")[1]), {})[key.split("/")[2]] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return int(tensors["epoch"])


def train_epoch(
    model: CLIPModel,
    tokenizer: CLIPTokenizer,
    optimizer: torch.optim.Optimizer,
    data: tuple[Tensor, Tensor],
    names: list[str],
    progress: tuple[int, int],
) -> float:
    """Train epoch progress[0] of progress[1]; all randomness is drawn from its number. Returns the mean loss."""
    epoch, epochs = progress
    generator = torch.Generator().manual_seed(epoch)
    order = torch.randperm(len(data[0]), generator=generator).split(BATCH)
    keep, losses = (0.5 if epoch < 0.9 * epochs else 1.0), []
    for step, rows in enumerate(order):
        done = (epoch + step / len(order)) / epochs
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * min(1.0, done * 20) * 0.5 * (1 + math.cos(math.pi * done))
        templates = [TEMPLATES[i] for i in torch.randint(0, len(TEMPLATES), (len(names),), generator=generator)]
        with torch.autocast("cpu", torch.bfloat16):
            images = image_features(model, augmented(data[0][rows], generator), keep, generator)
            texts = text_features(model, tokenizer, names, templates)
        loss = contrastive(model.logit_scale.exp() * images @ texts.T, data[1][rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.logit_scale.data.clamp_(max=math.log(100))
        losses.append(loss.item())
    return sum(losses) / len(losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=30.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names, seen = data_of(options.source)
    if not (options.output / "stream" / "labels.txt").exists():
        write_stream(options.source, options.output / "stream", names, seen)
    folder, known = options.output / "clip", [names[label] for label in seen]
    tokenizer = tokenizer_of(folder)
    model = model_of(tokenizer).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.05)
    checkpoint = options.output / "checkpoint.safetensors"
    first = load(checkpoint, model, optimizer) if checkpoint.exists() else 0
    train, test = (images_of(options.source, split, seen) for split in ("train", "test"))
    began = time.process_time()
    for epoch in range(first, options.epochs):
        loss = train_epoch(model, tokenizer, optimizer, train, known, (epoch, options.epochs))
        save(checkpoint, model, optimizer, epoch + 1)
        minutes = (time.process_time() - began) / 60
        print(f"epoch {epoch + 1}/{options.epochs}: loss {loss:.3f}, {minutes:.1f} CPU minutes", flush=True)
        if (epoch + 1) % 5 == 0 or epoch + 1 == options.epochs:
            print(f"  of the {SEEN} classes' test images {accuracy(model.eval(), tokenizer, *test, known):.1f} % right")
            model.train()
        if minutes > options.minutes:
            break
    model.save_pretrained(folder)
    processor = {"image_mean": MEAN, "image_std": STD, "crop_size": {"height": SIZE, "width": SIZE}}
    processor |= {"size": {"shortest_edge": SIZE}, "image_processor_type": "CLIPImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2))
    (folder / "seen_classes.txt").write_text("\n".join(known) + "\n")


if __name__ == "__main__":
    main()
