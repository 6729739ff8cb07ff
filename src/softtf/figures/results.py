"""What figures read from a run: its settings, and its accuracy under every policy that scored it."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from softtf.adaptations.base import parse_layers
from softtf.config.tree import Spec
from softtf.errors import UserError
from softtf.evaluation.accuracy_matrix import AccuracyMatrix
from softtf.figures.mean import Mean
from softtf.figures.style import check_series
from softtf.files.plain_json import NUMBER, fits
from softtf.inference.policy import parse_policy
from softtf.recipes.methods import title_of
from softtf.runs.folder import RunFolder
from softtf.runs.unknown import read_unknown

RESCORED = {
    "policy": str,
    "title": str,
    "shuffle": bool,
    "precision": str,
    "acc": NUMBER,
    "accuracy": (None, {str: (None, list)}),
}


@dataclass(frozen=True)
class Score:
    """The result of a run under one policy, in percent; forget and matrix are None if only the last task was scored."""

    code: str
    title: str
    acc: float
    forget: float | None
    matrix: AccuracyMatrix | None


class RunResults:
    """A run that a figure shows.

    Args:
        path: its folder.

    Raises:
        UserError: there is no run, or its results cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.folder, self.config = RunFolder.open(path)
        self.path = path

    @property
    def method(self) -> str:
        """The method's title, as in tables."""
        return title_of(self.config.method)

    @property
    def adapt(self) -> Any:
        """The spec of the adaptation beside the prompts, or None."""
        found = getattr(self.config.learner, "adapt", None)
        return found if isinstance(found, Spec) and found.kind != "none" else None

    @property
    def tasks(self) -> int:
        """The number of its evaluated tasks."""
        return self.folder.scores.counted()

    @cached_property
    def own(self) -> dict[str, Score]:
        """The scores under the run's own policies, by code, over the evaluated tasks.

        Raises:
            UserError: no task was evaluated, or the counts cannot be read.
        """
        if not self.tasks:
            raise UserError(f"{self.path} has no evaluated task yet; go on with `softtf resume {self.path}`")
        shuffled = self.config.evaluate.shuffle
        matrices = self.folder.scores.matrices(self.tasks)
        return {
            code: Score(code, parse_policy(code).title(shuffled), matrix.acc, matrix.forget, matrix)
            for code, matrix in matrices.items()
        }

    @cached_property
    def scores(self) -> dict[str, Score]:
        """The scores under all policies, by code: the run's own, then those of `softtf evaluate`.

        Scores of shuffled tests, of a precision below float32 and of fewer tasks are left out.

        Raises:
            UserError: a file cannot be read, or the run is not finished.
        """
        self._check_finished()
        found: dict[str, Score] = {}
        for content in self.folder.rescored():
            if read_unknown(content):
                continue  # it is of no policy
            if not fits(content, RESCORED):
                raise UserError(f"{self.path / 'rescored'}: a file does not hold what `softtf evaluate` writes")
            counts = content["accuracy"]
            matrix = None if counts is None else AccuracyMatrix.from_dict(counts)
            plain = not content["shuffle"] and content["precision"] == "float32"
            known = found.get(content["policy"])
            if plain and content.get("tasks") == self.tasks and not (known and known.matrix):
                code, forget = content["policy"], matrix.forget if matrix else None
                found[code] = Score(code, content["title"], float(content["acc"]), forget, matrix)
        return self.own | {code: score for code, score in found.items() if code not in self.own}

    def score(self, code: str) -> Score:
        """Return the score under a policy.

        Raises:
            UserError: the run was not scored by it.
        """
        if code not in self.scores:
            parse_policy(code)
            raise UserError(
                f"{self.path} was not scored by {code!r}, only by {', '.join(self.scores)}; `softtf evaluate"
                f" {self.path} --policy {code}` scores it"
            )
        return self.scores[code]

    def _check_finished(self) -> None:
        if not (self.folder.path / "summary.json").exists():
            raise UserError(f"{self.path} is not finished; go on with `softtf resume {self.path}`")


def mean_of(runs: Sequence[RunResults], code: str) -> Mean:
    """Return the mean over runs that differ only in their seed, under one policy.

    Raises:
        UserError: two of them have the same seed, or the policy did not score one of them.
    """
    by_seed: dict[int, RunResults] = {}
    for run in runs:
        other = by_seed.setdefault(run.config.seed, run)
        if other is not run:
            raise UserError(
                f"{other.path} and {run.path} are both {run.method} with seed {run.config.seed} and would be one"
                " point; name one of them"
            )
    scores = [by_seed[seed].score(code) for seed in sorted(by_seed)]
    acc, forget = [s.acc for s in scores], [s.forget for s in scores if s.forget is not None]
    whole = len(forget) == len(scores)
    return Mean(
        " ".join(map(str, sorted(by_seed))),
        mean(acc),
        stdev(acc) if len(acc) > 1 else None,
        mean(forget) if whole else None,
        stdev(forget) if whole and len(forget) > 1 else None,
    )


def measured(
    runs: Sequence[RunResults], policy: Sequence[str], key: Callable[[RunResults], Hashable]
) -> tuple[str, list[tuple[Any, str, Mean]]]:
    """Return a caption, and for each group of runs and policy its key, the policy's title and the mean over seeds.

    Args:
        runs: runs on one stream and backbone.
        policy: the policies to show; if empty, the runs' own that all of them have.
        key: runs with the same key that differ only in their seed are one point.

    Raises:
        UserError: streams or backbones differ, two runs would be one point, or the runs have no policy or too many
            policies in common.
    """
    check_alike(runs, "stream", lambda run: run.config.recipe)
    check_alike(runs, "backbone", lambda run: run.folder.weights)
    titles = policies_of(runs, policy)
    check_series(len(titles), "policies")
    groups = grouped(runs, key).items()
    found = [(which, title, mean_of(group, code)) for which, group in groups for code, title in titles.items()]
    return about(runs, "; ".join(titles.values())), found


def grouped(runs: Sequence[RunResults], key: Callable[[RunResults], Hashable]) -> dict[Any, list[RunResults]]:
    """Return the runs by key, in the order in which keys first appear."""
    found: dict[Hashable, list[RunResults]] = {}
    for run in runs:
        found.setdefault(key(run), []).append(run)
    return found


def policies_of(runs: Sequence[RunResults], wanted: Sequence[str]) -> dict[str, str]:
    """Return the titles, by code, of the policies to show: the wanted ones, or the runs' own that all of them have.

    Raises:
        UserError: a wanted policy did not score a run, or the runs have none in common.
    """
    if wanted:
        codes = list(dict.fromkeys(parse_policy(text).code for text in wanted))
        return {code: [run.score(code) for run in runs][0].title for code in codes}
    common = {code: s.title for code, s in runs[0].own.items() if all(code in run.scores for run in runs)}
    if not common:
        raise UserError("the runs have no policy in common; name other runs, or a --policy that scored them all")
    return common


def headline(run: RunResults) -> str:
    """Return the code of the first of a run's own policies that answers per sample and infers the task."""
    codes = [code for code in run.own if code != "oracle" and not parse_policy(code).pooling.code]
    return codes[0] if codes else next(iter(run.own))


def check_alike(runs: Sequence[RunResults], what: str, of: Callable[[RunResults], Any]) -> None:
    """Refuse runs that differ in something that a figure shows once for all.

    Raises:
        UserError: two of them differ.
    """
    for run in runs[1:]:
        if of(run) != of(runs[0]):
            raise UserError(
                f"the figure compares runs of one {what}, but {runs[0].path} has {of(runs[0])} and {run.path} {of(run)}"
            )


def layers_title(layers: Any) -> str:
    """Return layers in the paper's notation, such as L[10,11,12]; more than four in a row as L[1-12]."""
    blocks = [block + 1 for block in parse_layers(layers)]
    if not blocks:
        return "L[all]"
    in_a_row = len(blocks) > 4 and blocks == list(range(blocks[0], blocks[-1] + 1))
    return f"L[{blocks[0]}-{blocks[-1]}]" if in_a_row else f"L[{','.join(map(str, blocks))}]"


def about(runs: Sequence[RunResults], policies: str = "") -> str:
    """Return a caption: the streams, policies, seeds and backbones of runs."""
    streams = _joined(run.config.recipe for run in runs)
    seeds = _joined(str(seed) for seed in sorted({run.config.seed for run in runs}))
    weights = _joined(run.folder.weights for run in runs)
    parts = [f"Stream: {streams}", f"policy: {policies}" if policies else "", f"seed: {seeds}", f"backbone: {weights}"]
    return "; ".join(filter(None, parts)) + "."


def _joined(texts: Any) -> str:
    return ", ".join(dict.fromkeys(texts))


def labels_of(runs: Sequence[RunResults]) -> list[str]:
    """Return the name of each run for a legend: its method and, where needed, its seed, folder name or path."""
    plain = [run.method for run in runs]
    seeded = [f"{run.method}, seed {run.config.seed}" for run in runs]
    named = [f"{run.method} ({run.path.resolve().name})" for run in runs]
    for labels in (plain, seeded, named):
        if len(set(labels)) == len(labels):
            return labels
    return [f"{run.method} ({run.path})" for run in runs]


def check_kind(run: RunResults, kinds: Sequence[str], needed: str) -> None:
    """Refuse a run without the right adaptation.

    Raises:
        UserError: its adaptation is none of `kinds`.
    """
    kind = run.adapt.kind if run.adapt else "none"
    if kind not in kinds:
        has = "no masks" if kind == "none" else f"{kind} instead"
        raise UserError(f"{run.path} ({run.config.method}) has {has}; this figure needs {needed}")
