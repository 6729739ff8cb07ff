"""The naive twin: DualPrompt + Soft-TF the straightforward way, as a measure of what structure buys.

Two whole copies of the model, one of them for the query; float32; PyTorch's own linear layers and timm's own blocks; a
full float32 mask that is multiplied into the weight in every forward of its layer; each task inference a pass of
its own over the whole network, one vote a batch. It computes what softtf computes (tests/benchmarking/test_twin.py).
"""

import copy
from collections.abc import Sequence

import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from softtf.adaptations import Selection
from softtf.learners import Learner

Masks = dict[tuple[int, str], Tensor]  # (block from 0, qkv | proj | fc1 | fc2) -> mask of the weight's shape
Prompts = dict[int, Tensor]  # block -> keys and values [2, length, dim]


class Task(nn.Module):
    """One task's parameters: masks, E-prompts, key and head."""

    def __init__(self, masks: Masks, prompts: Prompts, key: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self._masks = nn.ParameterDict({f"{block} {name}": mask for (block, name), mask in masks.items()})
        self._prompts = nn.ParameterDict({str(block): prompt for block, prompt in prompts.items()})
        self.key, self.weight, self.bias = nn.Parameter(key), nn.Parameter(weight), nn.Parameter(bias)

    @property
    def masks(self) -> Masks:
        """The masks by block and weight."""
        return {(int(k.split()[0]), k.split()[1]): mask for k, mask in self._masks.items()}

    @property
    def prompts(self) -> Prompts:
        """The E-prompts by block."""
        return {int(block): prompt for block, prompt in self._prompts.items()}


class NaiveTwin(nn.Module):
    """Two frozen models, a G-prompt and a list of tasks; images [batch, 3, size, size] in [0, 1]."""

    def __init__(
        self, vit: VisionTransformer, mean: Tensor, std: Tensor, general: Prompts, tasks: list[Task], key_weight: float
    ) -> None:
        super().__init__()
        self.query_model = copy.deepcopy(vit)
        self.model = copy.deepcopy(vit)
        self.mean, self.std = mean, std
        self.general = nn.ParameterDict({str(block): prompt for block, prompt in general.items()})
        self.tasks = nn.ModuleList(tasks)
        self.key_weight = key_weight

    def query(self, images: Tensor) -> Tensor:
        """Return the second model's features [batch, dim]: a whole forward."""
        with torch.no_grad():
            model = self.query_model
            return model.forward_head(model.forward_features((images - self.mean) / self.std), pre_logits=True)

    def features(self, images: Tensor, masks: Masks, prompts: Prompts) -> Tensor:
        """Return features [batch, dim] of the masked and prompted model: a whole forward."""
        model = self.model
        x = model.norm_pre(model._pos_embed(model.patch_embed((images - self.mean) / self.std)))
        general = {int(block): prompt for block, prompt in self.general.items()}
        for index, block in enumerate(model.blocks):
            own = {name: mask for (b, name), mask in masks.items() if b == index}
            prefixes = [p[index] for p in (general, prompts) if index in p]
            x = (
                edited_block(block, x, own, torch.cat(prefixes, 1) if prefixes else None)
                if own or prefixes
                else block(x)
            )
        return model.forward_head(model.norm(x), pre_logits=True)

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the newest task's cross-entropy over its own classes plus the distance of its key from the queries."""
        task = self.tasks[-1]
        query = self.query(images)
        features = self.features(images, task.masks, task.prompts)
        matching = (1 - F.cosine_similarity(query, task.key[None])).mean()
        return F.cross_entropy(F.linear(features, task.weight, task.bias), targets) + self.key_weight * matching

    def logits(self, images: Tensor, masks: Masks, prompts: Prompts) -> Tensor:
        """Return logits [batch, classes seen]."""
        weight = torch.cat([task.weight for task in self.tasks])
        bias = torch.cat([task.bias for task in self.tasks])
        return F.linear(self.features(images, masks, prompts), weight, bias)

    @torch.no_grad()
    def oracle(self, images: Tensor, task: int) -> Tensor:
        """Return logits [batch, classes seen] of the given task's network."""
        return self.logits(images, self.tasks[task].masks, self.tasks[task].prompts)

    @torch.no_grad()
    def key_vote(self, images: Tensor) -> int:
        """Return the task whose key most of the batch's queries are nearest to."""
        keys = F.normalize(torch.stack([task.key for task in self.tasks]), dim=1)
        return int((F.normalize(self.query(images), dim=1) @ keys.T).argmax(1).mode().values)

    def prompt_id(self, images: Tensor) -> Tensor:
        """Return logits of the task that the keys name, one for the batch."""
        return self.oracle(images, self.key_vote(images))

    def gradient_scores(self, images: Tensor) -> Tensor:
        """Return -dH/dalpha [tasks] of the batch's mean entropy; prompts are those of the key-matched task."""
        prompts = self.tasks[self.key_vote(images)].prompts
        count = len(self.tasks)
        alpha = torch.full((count,), 1 / count, dtype=images.dtype, device=images.device, requires_grad=True)
        every = [task.masks for task in self.tasks]
        mixed = {key: sum(a * masks[key] for a, masks in zip(alpha, every, strict=True)) for key in every[0]}
        logits = self.logits(images, mixed, prompts)
        log_p = logits.topk(max(2, logits.shape[1] // count), dim=1).values.log_softmax(1)
        entropy = -(log_p.exp() * log_p).sum(1).mean()
        return -torch.autograd.grad(entropy, alpha)[0]

    def gradient_id(self, images: Tensor) -> Tensor:
        """Return logits of the task that the entropy's gradient names, one for the batch."""
        return self.oracle(images, int(self.gradient_scores(images).argmax()))


def edited_block(block: Block, x: Tensor, masks: dict[str, Tensor], prefix: Tensor | None) -> Tensor:
    """Run a block with masked weights and prefix keys and values [2, length, dim]."""
    attn, mlp = block.attn, block.mlp
    batch, tokens, dim = x.shape
    qkv = masked_linear(attn.qkv, block.norm1(x), masks.get("qkv"))
    q, k, v = qkv.view(batch, tokens, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    if prefix is not None:
        split = prefix.view(2, -1, attn.num_heads, dim // attn.num_heads).transpose(1, 2)
        p_k, p_v = split[:, None].expand(-1, batch, -1, -1, -1)
        k, v = torch.cat([p_k, k], 2), torch.cat([p_v, v], 2)
    out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, dim)
    x = x + block.ls1(masked_linear(attn.proj, out, masks.get("proj")))
    hidden = mlp.act(masked_linear(mlp.fc1, block.norm2(x), masks.get("fc1")))
    return x + block.ls2(masked_linear(mlp.fc2, hidden, masks.get("fc2")))


def masked_linear(layer: nn.Linear, x: Tensor, mask: Tensor | None) -> Tensor:
    """Apply a frozen layer, its weight multiplied with the mask."""
    return F.linear(x, layer.weight if mask is None else layer.weight * mask, layer.bias)


class TwinTraining:
    """Trains the twin's newest task and G-prompt: forward, backward, clip, Adam."""

    def __init__(self, twin: NaiveTwin, rate: float, clip_norm: float = 1.0) -> None:
        self.twin, self.clip_norm = twin, clip_norm
        twin.requires_grad_(False)
        self.parameters = [*twin.general.parameters(), *twin.tasks[-1].parameters()]
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.parameters, lr=rate)

    def run(self, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
        """Take one step a batch of images and targets; return the mean loss."""
        total = 0.0
        for images, targets in batches:
            loss = self.twin.loss(images, targets)
            self.optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(self.parameters, self.clip_norm)
            self.optimizer.step()
            total += loss.item()
        return total / len(batches)


@torch.no_grad()
def twin_of(learner: Learner) -> NaiveTwin:
    """Return the twin of a DualPrompt learner, with copies of its parameters."""
    network, backbone = learner.network, learner.network.backbone
    blocks, adaptations = range(backbone.depth), list(network.adaptations)

    def prompts(selection: Selection | None) -> Prompts:
        own = [(a.shared_blocks if selection is None else a.task_blocks, a) for a in adaptations]
        found = [(b, a.prefix(b, selection)) for touched, a in own for b in blocks if b in touched]
        return {b: prefix[0].clone() for b, prefix in found if prefix is not None}

    tasks = []
    for t in range(learner.num_tasks):
        masks = {
            site: a.weight(site, torch.ones_like(backbone.linear(*site).weight), t)
            for a in adaptations
            for site in a.weight_sites
        }
        head = [network.heads.value(t, name) for name in ("weight", "bias")]
        values = (learner.keys.slot(t)["key"], *head)
        tasks.append(Task(masks, prompts(Selection(task=t)), *(value.clone() for value in values)))
    return NaiveTwin(backbone.vit, backbone.mean, backbone.std, prompts(None), tasks, learner.spec.key_weight)
