"""`softtf figure`: the paper's figures from the command line."""

from dataclasses import fields
from pathlib import Path

from softtf.cli.options import Command, Figure
from softtf.errors import UserError, unknown
from softtf.figures import FIGURES, numbers_of, save
from softtf.screen import say

OPTIONS = (
    {field.name for field in fields(Figure)} - {field.name for field in fields(Command)} - {"name", "runs", "output"}
)


def run(options: Figure) -> int:
    """Draw a figure, and write it and its numbers."""
    from softtf.figures.style import check_ending

    if options.name is None:
        raise UserError(f"name a figure: {', '.join(FIGURES)} (`softtf list figures`)")
    if options.name not in FIGURES:
        raise unknown("figure", options.name, FIGURES)
    about = FIGURES[options.name]
    given = {name: getattr(options, name) for name in sorted(OPTIONS) if getattr(options, name) not in (None, ())}
    for name in given.keys() - {*about.options}:
        takes = ", ".join(f"--{option}" for option in about.options) or "no options of its own"
        raise UserError(f"figure {options.name} does not read --{name}; it takes {takes}")
    if options.runs and not about.of_runs:
        raise UserError(f"figure {options.name} needs no run; leave {options.runs[0]} out")
    output = options.output or Path(f"{options.name}.png")
    check_ending(output)
    found = numbers_of(options.name, options.runs, **given)
    numbers = save(options.name, found, output)
    say(f"figure: {output}; its numbers: {numbers}")
    return 0
