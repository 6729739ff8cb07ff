"""The paper's Appendix A.1 as an experiment: gradient descent on a mask and on a prompt against its bounds.

`softtf.figures.convex_problems` has the theorem and the problems. Losses are divided by their Lipschitz constant, so
that rho = 1; where a mask and a prompt learn the same task, both are divided by the mask's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

from softtf.figures.convex_problems import EXAMPLES, IN, OUT, Problem, mask_problem, prompt_on, prompt_problem
from softtf.figures.numbers import Numbers
from softtf.figures.style import TWO_COLUMNS, legend_above, look, new_figure, say_below

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROBLEMS = 20
STEPS = tuple(2**i for i in range(11))
DISTANCES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
STEPS_OF_DISTANCES = 256
OVER_STEPS, OVER_DISTANCE, ONE_TASK = "over steps", "over distance", "one task"
KINDS = {"mask": mask_problem, "prompt": prompt_problem}
CAPTION = (
    f"No run: {PROBLEMS} random problems of {EXAMPLES} examples, W [{OUT}, {IN}]; losses divided by their Lipschitz"
    " constant ρ (right: both by the mask's). Left: distance 1 of the start from the optimum. Middle:"
    f" {STEPS_OF_DISTANCES} steps. Right: one task, which a mask at distance 1 solves. Lines: mean; areas: up to the"
    " worst problem; bounds: Bρ/√T (equations 13, 20, 21)."
)


@dataclass(frozen=True)
class Point:
    """Gradient descent on 20 problems of one kind.

    panel: over steps, over distance, or one task for both. parameter: mask or prompt. distance: B. suboptimality: that
    of the mean iterate; in `one task` against the best mask, which solves the task. worst: the largest suboptimality.
    bound: in `one task` it includes the loss of the best prompt. All but `worst` are means over the problems.
    """

    panel: str
    parameter: str
    steps: int
    distance: float
    suboptimality: float
    worst: float
    bound: float


def numbers() -> Numbers[Point]:
    """Return the suboptimality and its bound over steps, over distances, and on one task for a mask and a prompt."""
    rows = []
    for kind, make in KINDS.items():
        problems = _unit(make, 1.0)
        rows += [_point(OVER_STEPS, kind, steps, problems) for steps in STEPS]
    for kind, make in KINDS.items():
        for distance in DISTANCES:
            rows.append(_point(OVER_DISTANCE, kind, STEPS_OF_DISTANCES, _unit(make, distance)))
    rows += list(_one_task())
    return Numbers(rows, CAPTION)


def _unit(make: Callable[[float, int], Problem], distance: float) -> list[Problem]:
    problems = [make(distance, seed) for seed in range(PROBLEMS)]
    return [problem.divided(problem.lipschitz) for problem in problems]


def _point(panel: str, kind: str, steps: int, problems: list[Problem]) -> Point:
    gaps = [problem.suboptimality(steps) for problem in problems]
    bounds = [problem.bound(steps) for problem in problems]
    distances = [problem.distance for problem in problems]
    return Point(panel, kind, steps, mean(distances), mean(gaps), max(gaps), mean(bounds))


def _one_task() -> Iterator[Point]:
    tasks = [mask_problem(1.0, seed) for seed in range(PROBLEMS)]
    prompts = [prompt_on(task, seed) for seed, task in enumerate(tasks)]
    for kind, alone in (("mask", tasks), ("prompt", prompts)):
        problems = [p.divided(task.lipschitz) for p, task in zip(alone, tasks, strict=True)]
        left = [problem.loss(problem.optimum) for problem in problems]
        for steps in STEPS:
            gaps = [p.suboptimality(steps) + rest for p, rest in zip(problems, left, strict=True)]
            bounds = [p.bound(steps) + rest for p, rest in zip(problems, left, strict=True)]
            distance = mean([problem.distance for problem in problems])
            yield Point(ONE_TASK, kind, steps, distance, mean(gaps), max(gaps), mean(bounds))


def draw(found: Numbers[Point]) -> "Figure":
    """Return three panels with logarithmic axes: over steps, over distance, and one task for both."""
    figure, axes = new_figure(TWO_COLUMNS, 2.9, 1, 3)
    for axis, panel in zip(axes[0], (OVER_STEPS, OVER_DISTANCE, ONE_TASK), strict=True):
        for number, kind in enumerate(KINDS):
            points = [p for p in found.rows if (p.panel, p.parameter) == (panel, kind)]
            _lines(axis, points, number, "distance" if panel == OVER_DISTANCE else "steps")
        axis.set_xscale("log")
        axis.set_yscale("log")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter("{x:g}")
            side.set_minor_formatter("")
        axis.set_title({ONE_TASK: "one task for both"}.get(panel, panel))
        axis.set_xlabel("distance B" if panel == OVER_DISTANCE else "steps T")
    axes[0][0].set_ylabel("suboptimality")
    legend_above(figure, axes[0][0], 4)
    say_below(figure, found.caption)
    return figure


def _lines(axis: Any, points: list[Point], number: int, along: str) -> None:
    x = [getattr(p, along) for p in points]
    line, name = look(number), points[0].parameter
    axis.plot(x, [p.suboptimality for p in points], **line, label=name)
    axis.fill_between(
        x, [p.suboptimality for p in points], [p.worst for p in points], color=line["color"], alpha=0.2, linewidth=0
    )
    bound = {"color": line["color"], "linestyle": (0, (1, 1.5)), "linewidth": 1.6 - 0.6 * number}
    axis.plot(x, [p.bound for p in points], **bound, label=f"{name}: bound")
