"""The heading of a table, and the notes below it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from softtf.config.names import CLIP_VIT_B, PAPER_BATCH
from softtf.paper.figures import STREAM_NAMES
from softtf.paper.rows import Table
from softtf.paper.runs import Cell, Wish
from softtf.recipes.presets import RECIPES
from softtf.recipes.recipes import is_text
from softtf.recipes.texts import rows_protocol
from softtf.streams import HUB

OURS = {  # what ours are, by scale and whether they are texts
    ("full", False): "Ours: ViT-B/16 with the paper's settings where it states them (softtf.recipes).",
    ("full", True): (
        "Ours: BERT-base, 128 tokens, with the rows that the heading names. Full is MBPA++'s protocol, with one epoch,"
        " which the paper cites; Sampled is IDBR's, here with 3 epochs (softtf.recipes.texts). The paper does not say"
        " which it used."
    ),
    ("mini", False): (
        "Ours are at MINI SCALE: the small bundled ViT, 100 training and 50 test images per class, 3 epochs. The"
        " paper's results are ViT-B/16's with all images and epochs; compare orders, not values."
    ),
    ("mini", True): (
        "Ours are at MINI SCALE: a BERT encoder of 6 layers (minilm-l6-v2), 40 training rows per class, 140 test rows"
        " per data set, 64 tokens, 3 epochs; L[10,11,12] are its layers 4-6, L[3,4,5] its layers 2-4. The paper's"
        " results are of a model of 12 layers; compare orders, not values."
    ),
}


def title(table: Table, stream: str, cells: Sequence[Cell]) -> str:
    """Return the heading of a table's part for one stream, or for a mean over streams."""
    name = f"Table {table.name}" if table.name.isdigit() else table.name.capitalize()
    parts = [f"{name}: {table.caption}", RECIPES[stream].description.partition(",")[0]]
    parts += [rows_of(cells, stream), labels_protocol(cells)]
    jobs = [job for cell in cells for job in cell.jobs if cell.row.trained_on_stream]
    tasks = {count for job in jobs if (count := job.config.stream.num_tasks) is not None}
    if stream in RECIPES and (others := sorted(tasks - {RECIPES[stream].settings["stream.num_tasks"]})):
        parts.append(f"here in {', '.join(map(str, others))} tasks")
    return "; ".join(part for part in parts if part)


def labels_protocol(cells: Sequence[Cell]) -> str:
    """Return how labels that tasks share are treated; empty where tasks share none."""
    return next((job.config.stream.labels_protocol for cell in cells for job in cell.jobs), "")


def rows_of(cells: Sequence[Cell], stream: str) -> str:
    """Return the numbers of training and test rows (`rows_protocol`); those of all streams for a mean."""
    jobs = [job for cell in cells for job in cell.jobs if cell.stream == stream or stream not in RECIPES]
    return " or ".join(dict.fromkeys(said for job in jobs if (said := rows_protocol(job.config.stream))))


def _scales(cells: Sequence[Cell], wish: Wish) -> list[str]:
    """Return at which scale and on which backbone ours was run."""
    if any(cell.row.trained.clip for cell in cells):
        few = "at MINI SCALE, 100 training and 50 test images per class, " if wish.scale == "mini" else ""
        clip = Path(str(wish.settings.get("backbone.name", CLIP_VIT_B)))
        name = clip.name if clip.is_dir() else clip
        return [f"Ours: {few}on the CLIP {name}; the paper's results are CLIP ViT-B/16's."]
    jobs = [(cell.stream, job.config) for cell in cells for job in cell.jobs]
    texts = {is_text(config) for stream, config in jobs if stream in STREAM_NAMES}
    return [OURS[wish.scale, text] for text in sorted(texts)] + [
        f"{stream} is not a stream of the paper; ours: {config.backbone.name}, settings of the recipe and the row."
        for stream, config in jobs
        if stream not in STREAM_NAMES
    ]


def notes(table: Table, cells: Sequence[Cell], wish: Wish, failed: Mapping[Path, str]) -> list[str]:
    """Return the notes that explain the numbers, each of one or two sentences."""
    said = [
        f"per-sample: every test sample is answered alone. Paper's policy: {PAPER_BATCH} consecutive samples of a task"
        " share one answer (Prompt ID: the majority of their votes; Gradient ID: the gradient of their mean entropy;"
        " n-shot: that of the first n). The paper's results are under this policy; '-' and upper bounds need no task."
        " Task given: the oracle, the ceiling.",
        "Loss over: the classes that the cross-entropy of ours compares: all seen so far, the task's own, or all of the"
        " stream (--set learner.classes=own). The paper does not say.",
    ]
    if any(cell.row.task_id.startswith("Gradient ID") for cell in cells):
        said.append(
            "Our Gradient ID mixes E-prompts like masks; the published code gives each sample those of its key-matched"
            " task (policy gradient-id-key-prompts)."
        )
    said += _scales(cells, wish)
    changes = [f"{name}={value}" for name, value in wish.settings.items()]
    changes += [f"{'data' if name == HUB else name} from {source}" for name, source in wish.sources.items()]
    if changes:
        said.append(f"Changed by the command: {', '.join(changes)}.")
    said += [text for cell in cells for job in cell.jobs if job.finished for text in job.results.get("fewer_rows", ())]
    seeds = ", ".join(map(str, wish.seeds))
    said.append(f"Mean ± standard deviation over seeds {seeds}." if len(wish.seeds) > 1 else f"Seed {seeds}.")
    said.append(
        "Train s: all epochs. Test s: the evaluations after every task, under the paper's policy alone. This run: the"
        " seconds that passed in it; from nothing: the same plus what cached results of earlier runs, tasks and"
        " evaluations saved. The paper's seconds are of one Quadro RTX 8000. Params/task of ours: all parameters"
        " trained in the last task: head, keys, prompts, and the heads of earlier tasks where it trains them again."
    )
    if joint := {job.config.train.epochs for cell in cells if not cell.row.trained_on_stream for job in cell.jobs}:
        epochs = " or ".join(map(str, sorted(joint)))
        said.append(f"Our upper bounds learn all classes at once in {epochs} epochs; no task is inferred or given.")
    if any(hasattr(job.config.learner, "tune") for cell in cells for job in cell.jobs):
        said.append(
            "Whole network: all weight matrices of the blocks and the head are trained, 99% of a ViT's parameters;"
            " norms, biases and the embedding are frozen."
        )
    said += table.notes
    for cell in cells:
        reasons = [cell.left_out] if cell.left_out else [failed[job.path] for job in cell.jobs if job.path in failed]
        word = "left out" if cell.left_out else "failed"
        said += [f"{word}: {cell.row.title} on {cell.stream}: {reason}." for reason in dict.fromkeys(reasons)]
    return list(dict.fromkeys(said))
