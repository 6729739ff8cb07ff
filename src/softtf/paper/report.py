"""A table in the paper's layout: each row's figures in the paper and, below them, ours, the policy in the header."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import cast

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable

from softtf.config.names import CLIP_VIT_B, PAPER_BATCH
from softtf.evaluation.report import differ, latex_table, markdown_table, parameters, with_weights
from softtf.inference.policy import parse_policy
from softtf.learners.spans import NO_SPAN, span_of
from softtf.paper import Table, figure
from softtf.paper.runs import Cell, Wish
from softtf.recipes.presets import RECIPES
from softtf.recipes.recipes import is_text
from softtf.recipes.texts import rows_protocol
from softtf.screen import plain
from softtf.streams import HUB

HEADERS = (
    "Method",
    "Task ID",
    "Numbers",
    "Loss over",
    "per-sample (headline): ACC / Forget",
    f"paper's policy, same-task batch({PAPER_BATCH}): ACC / Forget",
    "task given: ACC",
    "Params/task",
    "Train s, this run",
    "Train s, from nothing",
    "Test s, this run",
    "Test s, from nothing",
)
NUMBERS = range(4, len(HEADERS))
OURS = {  # what ours are, by scale and whether they are texts
    ("full", False): "Ours: ViT-B/16 with the paper's settings where it states them (softtf.recipes).",
    ("full", True): (
        "Ours: BERT-base, 128 tokens, the rows that the heading says: Full is MBPA++'s protocol, of one epoch, which"
        " the paper cites; Sampled is IDBR's, here of 3 epochs (softtf.recipes.texts). The paper does not say its own."
    ),
    ("mini", False): (
        "Ours are at MINI SCALE: the small bundled ViT, 100 training and 50 test images a class, 3 epochs. The paper's"
        " figures are ViT-B/16's with all images and epochs; compare orders, not values."
    ),
    ("mini", True): (
        "Ours are at MINI SCALE: a BERT encoder of 6 layers (minilm-l6-v2), 40 training rows a class and 140 test rows"
        " a data set, 64 tokens, 3 epochs; L[10,11,12] are its layers 4-6, L[3,4,5] its layers 2-4. The paper's figures"
        " are of a model of 12 layers; compare orders, not values."
    ),
}
CSV_FIELDS = (
    *("table", "stream", "labels", "method", "task_id", "numbers", "classes", "policy", "seeds"),
    *("acc", "acc_std", "forget", "forget_std", "task_right"),
    "parameters",
    *(
        f"{part}_s_{kind}{end}"
        for part in ("train", "test")
        for kind in ("this_run", "from_nothing")
        for end in ("", "_std")
    ),
    *("weights", "rows"),
)

Values = tuple[float, ...]
"""One number a seed; () for none."""


@dataclass(frozen=True)
class Score:
    """What a line has under one policy."""

    policy: str
    acc: Values = ()
    forget: Values = ()
    task_right: Values = ()
    test_this_run: Values = ()
    test_from_nothing: Values = ()


@dataclass(frozen=True)
class Line:
    """One row's figures, the paper's or ours, on one stream.

    Attributes:
        method: the row's title.
        task_id: the paper's task inference.
        numbers: `paper` or `ours`.
        classes: that the cross-entropy of ours is over; the paper does not say.
        per_sample: every sample answered alone.
        papers: under the paper's policy.
        oracle: with the task given; its accuracy only is shown.
        parameters: trained in a task.
        train_this_run: seconds that passed in the training of all tasks.
        train_from_nothing: the same if no features had been kept from earlier runs; the paper's are such.
        weights: those of the frozen backbone, by name and hash; one, unless seeds or streams had different ones.
    """

    method: str
    task_id: str
    numbers: str
    classes: str
    per_sample: Score
    papers: Score
    oracle: Score
    parameters: str = "–"
    train_this_run: Values = ()
    train_from_nothing: Values = ()
    weights: tuple[str, ...] = ()

    @property
    def seconds(self) -> tuple[Values, Values, Values, Values]:
        """Of training, and of testing under the first policy there is: the paper's, per sample, the oracle."""
        timed = (s for s in (self.papers, self.per_sample, self.oracle) if s.test_from_nothing)
        test = next(timed, Score(""))
        return self.train_this_run, self.train_from_nothing, test.test_this_run, test.test_from_nothing

    @property
    def cells(self) -> list[str]:
        """The line as text."""
        return [
            *(self.method, self.task_id, self.numbers, self.classes),
            *(f"{_text(s.acc)} / {_text(s.forget)}" if s.acc else "–" for s in (self.per_sample, self.papers)),
            *(_text(self.oracle.acc), self.parameters),
            *(_text(values, 1 if mean(values or (0,)) < 100 else 0) for values in self.seconds),
            " and ".join(self.weights) or "–",
        ]


def lines_of(table: str, cells: Sequence[Cell]) -> list[Line]:
    """Return the paper's line, if it has one, and ours for each row."""
    return [line for cell in cells for line in (_papers(table, cell), _ours(cell)) if line is not None]


def _papers(table: str, cell: Cell) -> Line | None:
    row = cell.row
    found = figure(table, cell.stream, row.name, row.task_id, row.backbone, row.setting)
    if found is None:
        return None
    title = parse_policy(row.papers_policy if row.trained_on_stream else "none").title()
    score = Score(title, _values(found.acc), _values(found.forget), (), (), _values(found.test_s))
    train = _values(found.train_s)
    given = figure(table, cell.stream, row.name, row.task_id, row.backbone, row.setting, task_given=True)
    oracle = Score(parse_policy("oracle").title(), _values(given.acc), _values(given.forget)) if given else Score("")
    return Line(row.title, row.task_id, "paper", NO_SPAN, Score(""), score, oracle, found.params or "–", (), train)


def _ours(cell: Cell) -> Line:
    row, results = cell.row, [job.results for job in cell.jobs if job.finished]
    shuffled = any(job.config.evaluate.shuffle for job in cell.jobs)

    def score(code: str | None) -> Score:
        if code is None:
            return Score("")
        policy = [r["policies"][code] for r in results]
        right = tuple(p["task_identity"] for p in policy if p["task_identity"] is not None)
        acc, forget = (tuple(p[name] for p in policy) for name in ("acc", "forget"))
        test = (_known(p[f"test_seconds_{kind}"] for p in policy) for kind in ("this_run", "from_nothing"))
        named = code if row.trained_on_stream else "none"
        return Score(parse_policy(named).title(shuffled), acc, forget, right, *test)

    trained = parameters(results[0]["parameters_per_task"]) if results else "–"
    train, nothing = (_known(r[f"train_seconds_{kind}"] for r in results) for kind in ("this_run", "from_nothing"))
    given = "oracle" if row.trained_on_stream else None  # of one task only it would say the same again
    scores = score(row.per_sample), score(row.policy), score(given)
    weights = tuple(dict.fromkeys(r["weights"] for r in results))
    span = span_of(cell.jobs[0].config.learner) if cell.jobs else NO_SPAN
    return Line(row.title, row.task_id, "ours", span, *scores, trained, train, nothing, weights)


def _values(value: float | None) -> Values:
    return () if value is None else (value,)


def _known(values: Iterable[float | None]) -> Values:
    """Return the values if all are known; runs of earlier versions do not tell some seconds."""
    found = tuple(values)
    return () if None in found else cast(Values, found)


def _text(values: Values, decimals: int = 2) -> str:
    if not values:
        return "–"
    spread = f"±{stdev(values):.{decimals}f}" if len(values) > 1 else ""
    return f"{mean(values):.{decimals}f}{spread}"


def mean_lines(parts: Sequence[Sequence[Line]]) -> list[Line]:
    """Return the mean of each line over the streams, empty where one of them has no number.

    `parts` are the lines of each stream, for the same rows.
    """
    return [_mean_line(lines) for lines in zip(*parts, strict=True)]


def _mean_line(lines: Sequence[Line]) -> Line:
    def score(scores: Sequence[Score]) -> Score:
        columns = ((s.acc, s.forget, s.task_right, s.test_this_run, s.test_from_nothing) for s in scores)
        return Score(scores[0].policy, *(_mean(values) for values in zip(*columns, strict=True)))

    return replace(
        lines[0],
        per_sample=score([line.per_sample for line in lines]),
        papers=score([line.papers for line in lines]),
        oracle=score([line.oracle for line in lines]),
        parameters=lines[0].parameters if len({line.parameters for line in lines}) == 1 else "varies",
        train_this_run=_mean([line.train_this_run for line in lines]),
        train_from_nothing=_mean([line.train_from_nothing for line in lines]),
        weights=tuple(dict.fromkeys(name for line in lines for name in line.weights)),
    )


def _mean(values: Sequence[Values]) -> Values:
    """Return the mean over streams for each seed."""
    whole = len({len(v) for v in values}) == 1
    return tuple(mean(of_seed) for of_seed in zip(*values, strict=True)) if whole else ()


def title(table: Table, stream: str, cells: Sequence[Cell]) -> str:
    """Return the heading of a table's part on one stream, or, if that has no description, of what it says."""
    name = f"Table {table.name}" if table.name.isdigit() else table.name.capitalize()
    parts = [f"{name}: {table.caption}", RECIPES[stream].description.partition(",")[0]]
    parts += [rows_of(cells, stream), labels_protocol(cells)]
    tasks = {job.config.stream.num_tasks for cell in cells for job in cell.jobs if cell.row.trained_on_stream}
    if stream in RECIPES and (others := sorted(tasks - {RECIPES[stream].settings["stream.num_tasks"]})):
        parts.append(f"here in {', '.join(map(str, others))} tasks")
    return "; ".join(part for part in parts if part)


def labels_protocol(cells: Sequence[Cell]) -> str:
    """Return what is said of labels that tasks share; empty where they can share none."""
    return next((job.config.stream.labels_protocol for cell in cells for job in cell.jobs), "")


def rows_of(cells: Sequence[Cell], stream: str) -> str:
    """Return how many rows were learned and tested on (`rows_protocol`); of all streams for a mean over them."""
    jobs = [job for cell in cells for job in cell.jobs if cell.stream == stream or stream not in RECIPES]
    return " or ".join(dict.fromkeys(said for job in jobs if (said := rows_protocol(job.config.stream))))


def notes(table: Table, cells: Sequence[Cell], wish: Wish, failed: Mapping[Path, str]) -> list[str]:
    """Return what must be known to read the numbers, a sentence or two each."""
    said = [
        f"per-sample: every test sample is answered alone. Paper's policy: {PAPER_BATCH} consecutive samples of a task"
        " share one answer (Prompt ID: the majority of their votes; Gradient ID: the gradient of their mean entropy;"
        " n-shot: of the first n); the paper's figures are under it, and '-' or an upper bound needs no task. Task"
        " given: the oracle, the ceiling.",
        "Loss over: the classes that the cross-entropy of ours compares, all seen so far, the task's own, or all of the"
        " stream (--set learner.classes=own); the paper does not say.",
    ]
    if any(cell.row.task_id.startswith("Gradient ID") for cell in cells):
        said.append(
            "Gradient ID of ours mixes E-prompts as it mixes masks; the published code gives each sample those of its"
            " key-matched task (policy gradient-id-key-prompts)."
        )
    if any(cell.row.trained.clip for cell in cells):
        few = "at MINI SCALE, 100 training and 50 test images a class, " if wish.scale == "mini" else ""
        clip = Path(str(wish.settings.get("backbone.name", CLIP_VIT_B)))
        said.append(
            f"Ours: {few}on the CLIP {clip.name if clip.is_dir() else clip}; the paper's figures are CLIP ViT-B/16's."
        )
    else:
        texts = {is_text(job.config) for cell in cells for job in cell.jobs}
        said += [OURS[wish.scale, text] for text in sorted(texts)]
    changes = [f"{name}={value}" for name, value in wish.settings.items()]
    changes += [f"{'data' if name == HUB else name} from {source}" for name, source in wish.sources.items()]
    if changes:
        said.append(f"Changed by the command: {', '.join(changes)}.")
    said += [text for cell in cells for job in cell.jobs if job.finished for text in job.results.get("fewer_rows", ())]
    seeds = ", ".join(map(str, wish.seeds))
    said.append(f"Mean ± standard deviation over seeds {seeds}." if len(wish.seeds) > 1 else f"Seed {seeds}.")
    said.append(
        "Train s: all epochs. Test s: the evaluations after every task, under the paper's policy alone. This run: the"
        " seconds that passed in it; from nothing: with those that were spared by what earlier runs, tasks and"
        " evaluations had computed. The paper's are of one Quadro RTX 8000. Params/task of ours: all that"
        " is trained in the last task, head, keys and prompts included; heads of earlier tasks that are trained again"
        " do not count."
    )
    if joint := {job.config.train.epochs for cell in cells if not cell.row.trained_on_stream for job in cell.jobs}:
        epochs = " or ".join(map(str, sorted(joint)))
        said.append(f"Upper bounds of ours learn all classes at once in {epochs} epochs; no task is named or given.")
    if any(hasattr(job.config.learner, "tune") for cell in cells for job in cell.jobs):
        said.append(
            "Whole network: all weight matrices of the blocks and the head, 99% of a ViT's parameters; norms, biases"
            " and the embedding stay."
        )
    said += table.notes
    for cell in cells:
        reasons = [cell.left_out] if cell.left_out else [failed[job.path] for job in cell.jobs if job.path in failed]
        word = "left out" if cell.left_out else "failed"
        said += [f"{word}: {cell.row.title} on {cell.stream}: {reason}." for reason in dict.fromkeys(reasons)]
    return list(dict.fromkeys(said))


def _with_weights(lines: Sequence[Line], heading: str) -> tuple[str, Sequence[str], list[list[str]]]:
    """Return heading, column headers and cells; the weights are in the heading where our lines have the same ones."""
    weights = [line.cells[-1] for line in lines if line.weights]
    headers = (*HEADERS, "Weights") if differ(weights) else HEADERS
    return with_weights(heading, weights), headers, [line.cells[: len(headers)] for line in lines]


def render(lines: Sequence[Line], heading: str) -> RichTable:
    """Return the lines as a table for the terminal: under a row's name its task inference, and weights that differ."""
    heading, headers, _ = _with_weights(lines, heading)
    table = RichTable(
        title=plain(heading), box=SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0), show_edge=False
    )
    apart = len(headers) > len(HEADERS)  # the weights; a column of them would leave the numbers no room
    table.add_column(plain("Method\n  task ID" + "\n  Weights" * apart), min_width=24, overflow="fold")
    for header in HEADERS[2:]:
        words = header.replace(": ", ":\n").replace(", ", ",\n").replace("/t", "/\nt")
        words = words.replace("from ", "from\n").replace(" over", "\nover")
        table.add_column(plain("" if header == "Numbers" else words), justify="right")
    before = None
    for i, line in enumerate(lines):
        name = (line.method, line.task_id)
        if name == before:
            first = f"  {line.task_id}"
        else:
            alone = i + 1 == len(lines) or (lines[i + 1].method, lines[i + 1].task_id) != name
            first = f"{line.method}\n  {line.task_id}" if alone else line.method
        before = name
        first += "".join(f"\n  {weights}" for weights in line.weights) if apart else ""
        cells = map(plain, line.cells[2 : len(HEADERS)])
        table.add_row(plain(first), *cells, style="dim" if line.numbers == "paper" else None)
    return table


def to_markdown(lines: Sequence[Line], heading: str) -> str:
    """Return the lines as a Markdown table under a heading."""
    heading, headers, body = _with_weights(lines, heading)
    return f"## {heading}\n\n" + markdown_table(headers, body, NUMBERS)


def to_latex(lines: Sequence[Line], heading: str) -> str:
    """Return the lines as a LaTeX tabular below its heading as a comment; it needs the package booktabs."""
    heading, headers, body = _with_weights(lines, heading)
    return f"% {heading}\n" + latex_table(headers, body, NUMBERS)


def to_csv(table: str, parts: Mapping[str, Sequence[Line]], cells: Sequence[Cell]) -> str:
    """Return the lines of every stream as CSV, one line for each policy that has numbers."""
    text, labels = io.StringIO(), labels_protocol(cells)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
    for stream, lines in parts.items():
        for line in lines:
            for score in dict.fromkeys((line.per_sample, line.papers, line.oracle)):
                if score.acc or score.test_from_nothing:
                    rows = rows_of(cells, stream) if line.numbers == "ours" else ""
                    writer.writerow([table, stream, labels, *_csv(line, score), rows])
    return text.getvalue()


def _csv(line: Line, score: Score) -> list[str]:
    seeds = str(max(len(score.acc), len(score.test_from_nothing)))
    first = [line.method, line.task_id, line.numbers, line.classes, score.policy, seeds]
    right = f"{mean(score.task_right):.2f}" if score.task_right else ""
    parts = [*_mean_and_deviation(score.acc), *_mean_and_deviation(score.forget), right]
    parts.append("" if line.parameters == "–" else line.parameters)
    seconds = (line.train_this_run, line.train_from_nothing, score.test_this_run, score.test_from_nothing)
    timed = [text for values in seconds for text in _mean_and_deviation(values)]
    return [*first, *parts, *timed, " and ".join(line.weights)]


def _mean_and_deviation(values: Values) -> list[str]:
    return [f"{mean(values):.2f}" if values else "", f"{stdev(values):.2f}" if len(values) > 1 else ""]
