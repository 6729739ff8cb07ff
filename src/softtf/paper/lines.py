"""The lines of a table: each row's figures in the paper and, below them, ours."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import cast

from softtf.evaluation.report import parameters, printed_of
from softtf.inference.policy import parse_policy
from softtf.learners.spans import NO_SPAN, span_of
from softtf.paper.figures import figure
from softtf.paper.runs import Cell

Values = tuple[float, ...]
"""One value per seed; () for none."""

Others = tuple[tuple[str, Values], ...]
"""Further metrics, by title (`printed_of`)."""


@dataclass(frozen=True)
class Score:
    """The values of a line under one policy."""

    policy: str
    acc: Values = ()
    forget: Values = ()
    task_right: Values = ()
    test_this_run: Values = ()
    test_from_nothing: Values = ()
    others: Others = ()


@dataclass(frozen=True)
class Line:
    """One row's figures, the paper's or ours, on one stream.

    Attributes:
        method: the row's title.
        task_id: the paper's task inference.
        numbers: `paper` or `ours`.
        classes: the classes of our cross-entropy; the paper does not say.
        per_sample: every sample answered alone.
        papers: under the paper's policy.
        oracle: with the task given; its accuracy only is shown.
        parameters: those trained in a task.
        train_this_run: seconds that passed in the training of all tasks.
        train_from_nothing: the same if no features had been kept from earlier runs; the paper's are such.
        weights: those of the frozen backbone, by name and hash; several if seeds or streams had different ones.
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
        """Seconds of training, and of testing under the first timed policy: the paper's, per sample, the oracle."""
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

    @property
    def others(self) -> dict[str, str]:
        """Further metrics by title: per sample, and under the paper's policy."""
        titles = [title for title, _ in self.per_sample.others or self.papers.others]
        pairs = {title: [dict(s.others).get(title, ()) for s in (self.per_sample, self.papers)] for title in titles}
        return {title: " / ".join(map(_text, pair)) for title, pair in pairs.items()}


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
        this_run, from_nothing = (
            _known(p[f"test_seconds_{kind}"] for p in policy) for kind in ("this_run", "from_nothing")
        )
        titles = [title for title, _ in printed_of({})]
        others = tuple((title, _known(dict(printed_of(p))[title] for p in policy)) for title in titles)
        named = code if row.trained_on_stream else "none"
        return Score(parse_policy(named).title(shuffled), acc, forget, right, this_run, from_nothing, others)

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
    """Return the values if all are known; runs of earlier versions lack some seconds."""
    found = tuple(values)
    return () if None in found else cast(Values, found)


def _text(values: Values, decimals: int = 2) -> str:
    if not values:
        return "–"
    spread = f"±{stdev(values):.{decimals}f}" if len(values) > 1 else ""
    return f"{mean(values):.{decimals}f}{spread}"


def mean_lines(parts: Sequence[Sequence[Line]]) -> list[Line]:
    """Return the mean of each line over the streams; empty where a stream has no value.

    `parts` are the lines of each stream, for the same rows.
    """
    return [_mean_line(lines) for lines in zip(*parts, strict=True)]


def _mean_line(lines: Sequence[Line]) -> Line:
    def score(scores: Sequence[Score]) -> Score:
        names = ("acc", "forget", "task_right", "test_this_run", "test_from_nothing")
        means = {name: _mean([getattr(s, name) for s in scores]) for name in names}
        found = [dict(s.others) for s in scores]
        others = tuple((title, _mean([values[title] for values in found])) for title in found[0])
        return Score(scores[0].policy, **means, others=others)

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
