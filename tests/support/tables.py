"""A table of the paper on runs of a second."""

from pathlib import Path

WHERE = ("--scale", "mini", "--streams", "cifar100-10", "--source", "digits")
SMALL = (
    *("--set", "stream.num_tasks=2", "stream.train-per-class=6", "stream.test_per_class=3", "train.epochs=1"),
    *("train.precision=float32", "device=cpu", "backbone.name=random:vit_tiny_patch16_224", "backbone.image_size=32"),
)
ROWS = ("--rows", "1", "only attn")  # rows 1, 3 and 4, the last two of one run
TABLE = ("table", "8", *WHERE, *SMALL, *ROWS)
RUNS = Path("runs/tables")
