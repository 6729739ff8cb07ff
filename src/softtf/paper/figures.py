"""The results printed in the paper's twelve tables, read from figures.csv beside this file."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

STREAMS = {  # the paper's benchmarks by the name of our recipe
    "cifar100-10": "10-split-cifar100",
    "cifar100-20": "20-split-cifar100",
    "imagenet-r-10": "10-split-imagenet-r",
    "tiny-imagenet-10": "10-split-tinyimagenet",
    "cub200-5": "5-split-cub200",
    **{f"text-order-{n}": f"text-5-order-{n}" for n in (4, 5, 6, 7)},
}

SAMPLED = {f"{name}-sampled": name for name in STREAMS if name.startswith("text-order-")}  # beside the same figures
STREAM_NAMES = (*STREAMS, *SAMPLED)


@dataclass(frozen=True)
class Figure:
    """One line of figures.csv; values that the paper does not give are empty or None.

    Attributes:
        table: its number.
        benchmark: the paper's name of the stream.
        method: as the paper writes it.
        task_id: how the task was inferred, by votes of 24 samples of one task (METHOD section 4).
        backbone: what it was pre-trained on, where the table compares that.
        setting: a further column of the table, such as exemplars=5000.
        params: trainable parameters, such as 6.93M.
        acc: average accuracy, percent.
        forget: forgetting, percent.
        train_s: seconds of training, on one Quadro RTX 8000.
        test_s: seconds of testing, there.
    """

    table: str
    benchmark: str
    method: str
    task_id: str
    backbone: str
    setting: str
    params: str
    acc: float | None
    forget: float | None
    train_s: float | None
    test_s: float | None


@cache
def figures() -> tuple[Figure, ...]:
    """Return all figures in the order of the file."""
    text = (resources.files("softtf.paper") / "figures.csv").read_text(encoding="utf-8")
    numbers = ("acc", "forget", "train_s", "test_s")
    return tuple(
        Figure(**{k: (float(v) if v else None) if k in numbers else v for k, v in line.items()})  # type: ignore[arg-type]
        for line in csv.DictReader(text.splitlines())
    )


def figure(
    table: str,
    stream: str,
    method: str,
    task_id: str,
    backbone: str = "",
    setting: str = "",
    task_given: bool = False,
) -> Figure | None:
    """Return the paper's figure for a row on the stream of one of our recipes; None if there is none.

    task_given: with the task given at test time (TIL), which Table 5 has beside the other (CIL).
    """
    benchmark = STREAMS.get(SAMPLED.get(stream, stream))
    benchmarks = [f"{benchmark} TIL"] if task_given else [benchmark, f"{benchmark} CIL"]
    wanted = (table, method, task_id, backbone, setting)
    found = [
        f
        for f in figures()
        if f.benchmark in benchmarks and (f.table, f.method, f.task_id, f.backbone, f.setting) == wanted
    ]
    return found[0] if found else None
