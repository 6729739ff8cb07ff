"""The paper's figures, drawn from runs. Each is a function that returns a matplotlib Figure, with its numbers as CSV.

    from softtf.figures import draw, numbers_of, save
    found = numbers_of("layers", ["runs/a", "runs/b"])   # found.rows, found.caption, found.to_csv()
    draw("layers", found)                                # a matplotlib Figure
    save("layers", found, "layers.pdf")                  # and layers.csv

On the command line: `softtf figure layers runs/a runs/b --output layers.pdf`. Each figure is a module of this package:
its `numbers` reads the runs, and its `draw` draws what `numbers` returned, and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softtf.config.arguments import check_argument, checked
from softtf.errors import UserError, unknown
from softtf.figures.numbers import Numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class About:
    """What a figure is: a line for lists, the options of its `numbers`, and whether it is drawn from runs."""

    title: str
    options: tuple[str, ...] = ()
    of_runs: bool = True


FIGURES = {
    "densities": About(
        "masks m, and W*m against W, of one run (the paper's Figures 3, 9, 10)", ("tasks", "layer", "backbone")
    ),
    "layers": About("accuracy by the set of masked layers (Figure 5)", ("policy",)),
    "attention": About("attention maps of --images by up to three runs (Figure 6)", ("images", "layer", "backbone")),
    "radar": About("methods over three or more streams (Figure 7a)", ("policy",)),
    "kept-share": About("accuracy against WSN's and SoftNet's kept share (Figures 7b, 8, Table 11)", ("policy",)),
    "groups": About("accuracy against the samples of one task that pool their evidence, of one method", ("policy",)),
    "training": About("losses over epochs, ACC over tasks", ("policy",)),
    "convergence": About("gradient descent on a mask and on a prompt against the bounds of Appendix A.1", (), False),
}


@checked
def numbers_of(name: str, runs: Sequence[str | Path] = (), **options: Any) -> Numbers[Any]:
    """Return the numbers of a figure.

    Args:
        name: one of FIGURES.
        runs: the folders of the runs that are drawn; a run that is named twice counts once.
        **options: those of the figure's `numbers`.

    Raises:
        UserError: there is no such figure, a run cannot be read or is of the wrong kind, or an option does not fit.
    """
    module = _module(name)
    if not FIGURES[name].of_runs:
        return module.numbers(**options)  # type: ignore[no-any-return]
    from softtf.figures.results import RunResults

    if not len(runs):
        raise UserError(f"figure {name} needs runs: softtf figure {name} RUN ...")
    paths = {Path(run).resolve(): Path(run) for run in runs}
    return module.numbers([RunResults(path) for path in paths.values()], **options)  # type: ignore[no-any-return]


def draw(name: str, found: Numbers[Any]) -> "Figure":
    """Return the figure drawn from its numbers.

    Raises:
        UserError: there is no such figure.
    """
    from softtf.figures.style import styled

    module = _module(name)
    with styled():
        figure: Figure = module.draw(found)
    return figure


@checked
def save(name: str, found: Numbers[Any], output: str | Path) -> Path:
    """Draw a figure into a file, and write its numbers as CSV under the same name; return the CSV's path.

    Raises:
        UserError: the file ends in none of .png, .pdf and .svg, or cannot be written; or as for `draw`.
    """
    from softtf.figures.style import check_ending, picture
    from softtf.files.tensors import write_atomic

    output = Path(output)
    check_ending(output)
    write_atomic(output, picture(draw(name, found), output.suffix.lower()))
    write_atomic(output.with_suffix(".csv"), found.to_csv())
    return output.with_suffix(".csv")


def _module(name: str) -> Any:
    if check_argument(str, name, "figure") not in FIGURES:
        raise unknown("figure", name, FIGURES)
    return import_module(f"softtf.figures.{name.replace('-', '_')}")
