"""The floors: multiply-adds that a piece of work cannot do without, counted from shapes.

N tokens (the [class] token among them), R of them read at the end, D width, H hidden width of the MLP (4D), P prefix
tokens of a block, p patch side.

    embedding      (N - 1) * 3 p^2 * D
    a matrix       N * out * in; in the last block R * out * in, but for keys and values: no other output is read
    a block        its matrices (12 N D^2 where R = N, H = 4D) + 2 R (N + P) D for q k^T and its product with v;
                   a prefix adds keys and values only
    backward       as much again for the matrices' inputs + 4 R (N + P) D for dq, dk, dv and the scores
    a masked       as much again for its weight gradient, or its G_x in Gradient ID; its inner product with the mask of
      matrix       each task: out * in

Norms, activations, biases, heads, keys and element-wise products (W * m) are left out: under 1% together.

`python -m benchmarks.floors` prints the table of benchmarks/README.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks.setup import BACKBONES, TITLES, learner_with
from softtf.adaptations import Selection
from softtf.backbones import load_backbone
from softtf.learners import Learner

NAMES = ("qkv", "proj", "fc1", "fc2")


@dataclass(frozen=True)
class Shape:
    """A backbone and what a learner changes in it.

    Attributes:
        dim: D.
        hidden: H.
        tokens: N.
        read: R, 1 where only the [class] token counts.
        patch_values: 3 p^2.
        prefix: P of each block.
        masked: the masked matrices of each block, among qkv, proj, fc1, fc2.
        first_edited: the first block that anything edits; first_task: the first that differs between tasks.
    """

    dim: int
    hidden: int
    tokens: int
    read: int
    patch_values: int
    prefix: tuple[int, ...]
    masked: tuple[tuple[str, ...], ...]
    first_edited: int
    first_task: int

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.prefix)

    def entries(self, name: str) -> int:
        """Return out * in of a matrix."""
        return {"qkv": 3 * self.dim, "proj": self.dim, "fc1": self.hidden, "fc2": self.hidden}[name] * self.dim

    def rows(self, block: int) -> int:
        """Return how many tokens of a block's output are needed: R of the last one's, N of the others'."""
        return self.read if block == self.depth - 1 else self.tokens

    def product(self, block: int, name: str) -> int:
        """Return what applying a matrix takes: its entries for every token needed; keys and values need all N."""
        if name == "qkv":
            return (self.rows(block) + 2 * self.tokens) * self.dim**2
        return self.rows(block) * self.entries(name)

    def products(self, block: int) -> int:
        """Return the same for all matrices of a block."""
        return sum(self.product(block, name) for name in NAMES)

    def scores(self, block: int, keys: int) -> int:
        """Return what one product between R queries and so many keys takes, over all heads: R * keys * D."""
        return self.rows(block) * keys * self.dim


@torch.no_grad()
def shape_of(learner: Learner) -> Shape:
    """Read the shape off a learner that has at least one task."""
    network, backbone = learner.network, learner.network.backbone
    blocks, adaptations = range(backbone.depth), list(network.adaptations)
    image = torch.zeros(1, 3, *backbone.vit.patch_embed.img_size, device=next(backbone.parameters()).device)
    tokens = backbone.embed(image)
    chosen = [Selection(task=0) if b >= network.first_task_block else None for b in blocks]
    prefixes = [[p for a in adaptations if (p := a.prefix(b, chosen[b])) is not None] for b in blocks]
    return Shape(
        dim=backbone.dim,
        hidden=backbone.linear(0, "fc1").out_features,
        tokens=tokens.x.shape[1],
        read=tokens.read or tokens.x.shape[1],
        patch_values=backbone.vit.patch_embed.proj.weight[0].numel(),
        prefix=tuple(sum(p.shape[2] for p in found) for found in prefixes),
        masked=tuple(tuple(n for n in NAMES if any((b, n) in a.weight_sites for a in adaptations)) for b in blocks),
        first_edited=network.first_edited_block,
        first_task=network.first_task_block,
    )


def embedding(s: Shape) -> int:
    """Patches to tokens: (N - 1) * 3 p^2 * D."""
    return (s.tokens - 1) * s.patch_values * s.dim


def blocks(s: Shape, start: int, prefixed: bool) -> int:
    """Blocks from `start` to the last, forward; P = 0 for the untouched backbone."""
    return sum(s.products(b) + 2 * s.scores(b, s.tokens + s.prefix[b] * prefixed) for b in range(start, s.depth))


def forward(s: Shape) -> int:
    """The untouched backbone on one image: embedding and every block."""
    return embedding(s) + blocks(s, 0, prefixed=False)


def backward(s: Shape, lowest: int) -> int:
    """Gradients of activations from the last block down to what is trained in block `lowest`.

    In the lowest block nothing goes through qkv; its attention needs 4 R (N + P) D if qkv is masked, or 3 R P D for
    the prefix's own keys and values alone.
    """
    above = sum(s.products(b) + 4 * s.scores(b, s.tokens + s.prefix[b]) for b in range(lowest + 1, s.depth))
    length = s.prefix[lowest]
    assert length or "qkv" in s.masked[lowest]
    keys = 4 * (s.tokens + length) if "qkv" in s.masked[lowest] else 3 * length
    return above + s.products(lowest) - s.product(lowest, "qkv") + s.scores(lowest, keys)


def mask_entries(s: Shape) -> int:
    """Entries of one task's masks: the sum of out * in."""
    return sum(s.entries(n) for names in s.masked for n in names)


def weight_gradients(s: Shape) -> int:
    """Weight gradients of the masked matrices alone; as much as forming Gradient ID's G_x."""
    return sum(s.product(b, n) for b, names in enumerate(s.masked) for n in names)


def training_step(s: Shape, lowest: int | None = None, query: bool = True) -> int:
    """Learning one image: query, prompted forward, backward to the lowest trained block, masks' gradients.

    `lowest` is the first edited block (a trained G-prompt) unless given; `query` False: the query is known already.
    """
    lowest = s.first_edited if lowest is None else lowest
    asked = blocks(s, s.first_edited, prefixed=False) if query else 0
    stem = embedding(s) + blocks(s, 0, prefixed=False) - blocks(s, s.first_edited, prefixed=False)
    return stem + asked + blocks(s, s.first_edited, prefixed=True) + backward(s, lowest) + weight_gradients(s)


def oracle(s: Shape) -> int:
    """Answering with the task given: one prompted forward."""
    stem = forward(s) - blocks(s, s.first_edited, prefixed=False)
    return stem + blocks(s, s.first_edited, prefixed=True)


def prompt_id(s: Shape) -> int:
    """Prompt ID and its answer: the query's blocks above the stem that both share, and a prompted forward."""
    return oracle(s) + blocks(s, s.first_edited, prefixed=False)


def scoring(s: Shape, tasks: int) -> int:
    """Gradient ID's scores above the trunk: top forward and backward, G_x, and T inner products of out * in each."""
    top = blocks(s, s.first_task, prefixed=True)
    return top + backward(s, s.first_task) + weight_gradients(s) + tasks * mask_entries(s)


def gradient_id(s: Shape, tasks: int) -> int:
    """Gradient ID with mixed prompts and its answer: trunk once, the scores, and the top once more."""
    return oracle(s) + scoring(s, tasks)


def all_policies(s: Shape, tasks: int, tops: float) -> float:
    """Prompt ID, Gradient ID and oracle in one pass; `tops`: how many different tasks they name for a sample."""
    return prompt_id(s) + scoring(s, tasks) + (tops - 1) * blocks(s, s.first_task, prefixed=True)


def mask_bytes(s: Shape, bytes_per_value: int) -> int:
    """Bytes of one task's masks."""
    return mask_entries(s) * bytes_per_value


def table(shapes: Sequence[Shape], titles: Sequence[str]) -> str:
    """Return every floor of some configurations as Markdown, in 10^9 multiply-adds an image."""
    rows = {
        "one forward": forward,
        "one forward, whole last block": lambda s: forward(replace(s, read=s.tokens)),
        "learning, G-prompt trained": training_step,
        "learning, G-prompt trained, query known": lambda s: training_step(s, query=False),
        "learning, G-prompt frozen": lambda s: training_step(s, s.first_task),
        "learning, G-prompt frozen, query known": lambda s: training_step(s, s.first_task, query=False),
        "oracle": oracle,
        "Prompt ID": prompt_id,
        "Gradient ID, T = 10": lambda s: gradient_id(s, 10),
        "Gradient ID, T = 50": lambda s: gradient_id(s, 50),
        "all three, one task named, T = 10": lambda s: all_policies(s, 10, 1),
        "all three, three tasks named, T = 10": lambda s: all_policies(s, 10, 3),
    }
    lines = [f"| 10^9 multiply-adds an image | {' | '.join(titles)} |", f"| --- |{' ---: |' * len(shapes)}"]
    lines += [f"| {name} | {' | '.join(f'{count(s) / 1e9:.3f}' for s in shapes)} |" for name, count in rows.items()]
    megabytes = {"masks a task, float32": 4, "masks a task, int8": 1}
    lines += [
        f"| {name} | {' | '.join(f'{mask_bytes(s, size) / 1e6:.2f} MB' for s in shapes)} |"
        for name, size in megabytes.items()
    ]
    return "\n".join(lines)


def papers_table() -> str:
    """Return the table of benchmarks/README.md."""
    shapes = [shape_of(learner_with(load_backbone(spec), 1)) for spec in BACKBONES.values()]
    return table(shapes, list(TITLES.values()))


if __name__ == "__main__":
    print(papers_table())
