"""`softtf figure`: the paper's figures from the command line."""

from pathlib import Path

from softtf.cli.options import Figure
from softtf.cli.options.command import flag
from softtf.errors import UserError, unknown
from softtf.figures import FIGURES, numbers_of, save
from softtf.saying import say

OF_ALL = ("name", "runs", "output")  # options that every figure reads


def run(options: Figure) -> int:
    """Draw a figure, and write it and its numbers."""
    from softtf.figures.style import check_ending

    if options.name is None:
        raise UserError(f"name a figure: {', '.join(FIGURES)} (`softtf list figures`)")
    if options.name not in FIGURES:
        raise unknown("figure", options.name, FIGURES)
    about = FIGURES[options.name]
    given = {name: value for name, value in options.given().items() if name not in OF_ALL}
    if unread := [name for name in given if name not in about.options]:
        takes = ", ".join(map(flag, about.options)) or "no options of its own"
        raise UserError(f"figure {options.name} does not read {flag(unread[0])}; it takes {takes}")
    if options.runs and not about.of_runs:
        raise UserError(f"figure {options.name} needs no run; leave {options.runs[0]} out")
    output = options.output or Path(f"{options.name}.png")
    check_ending(output)
    found = numbers_of(options.name, options.runs, **given)
    numbers = save(options.name, found, output)
    say(f"figure: {output}; its numbers: {numbers}")
    return 0
