"""The commands in a line each; this loads no option of theirs, so that `softtf --help` is quick."""

import shutil
import textwrap

ABOUT = "Continual learning with frozen pre-trained transformers."
COMMANDS = {
    "quickstart": "Learn five tasks of handwritten digits, or of docstrings, offline, and compare three methods.",
    "run": "Learn a stream of tasks. `softtf run RECIPE --help` lists every setting.",
    "resume": "Continue a run that was stopped.",
    "sweep": "Do every run that a sweep file asks for; the same command goes on where it was stopped.",
    "predict": "Label images, or texts with a learner of texts; the task is inferred for each.",
    "learn": "Teach a saved learner, or that of a finished run, one more task, with the learner's own settings.",
    "serve": "Answer HTTP requests with a learner (needs softtf[serve]); docs/serve.md has its routes and a client.",
    "evaluate": "Score a finished learner under other policies, without training; its run's folder keeps the results.",
    "learner": "Show what a saved learner knows and holds; change its tasks and classes; restore an earlier version.",
    "report": "Write a page of runs: one HTML file with tables, charts and wrong answers, which opens anywhere.",
    "compare": "Compare runs in one table: mean ± standard deviation over seeds, one row per method and policy.",
    "table": "Carry out the missing runs of a table of the paper, and print it; without a number, list the tables.",
    "figure": "Draw a figure of the paper from runs, and write its numbers as CSV beside it.",
    "cache": "Show where runs keep features of your images, and how many bytes they take; clear removes them.",
    "list": "List the names that commands take: recipes, methods, backbones, streams, policies, metrics, ...",
}
"""What each command does: the first line of its options' docstring."""
LEAST, MOST = 60, 120  # characters of a line of help


def overview() -> str:
    """Return the help of all commands, as wide as the terminal."""
    width = min(max(shutil.get_terminal_size().columns, LEAST), MOST)
    start = max(map(len, COMMANDS)) + 4
    lines = [
        textwrap.fill(f"  {name:<{start - 2}}{about}", width, subsequent_indent=" " * start, break_on_hyphens=False)
        for name, about in COMMANDS.items()
    ]
    last = "`softtf COMMAND --help` lists the options of a command."
    return "\n".join(["usage: softtf COMMAND [options]", "", ABOUT, "", *lines, "", last])
