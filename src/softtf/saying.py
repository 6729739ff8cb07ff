"""Plain lines on the screen; this loads no other library, so that `softtf --help` is quick."""

import sys
import warnings

from softtf.errors import visible

LINES = "\n\t"


def say(text: str, error: bool = False) -> None:
    """Print text of one or more lines, to stderr if it is an error."""
    print(visible(text, LINES), file=sys.stderr if error else sys.stdout, flush=True)


def note(line: str) -> None:
    """Print a line of softtf's own to stderr: it is no answer of a command."""
    say(f"softtf: {line}", error=True)


def warn(text: str, stacklevel: int = 2) -> None:
    """Give a warning of one line."""
    warnings.warn(visible(text), stacklevel=stacklevel + 1)
