"""What people see: nothing that somebody else named a file, a class or a task can move the cursor or colour the screen.

Everything that softtf prints leaves through `say` or a `Screen`.
"""

import sys
import warnings
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from softtf.errors import visible

LINES = "\n\t"


def say(text: str, error: bool = False) -> None:
    """Print text that may have several lines, on stderr if it is an error."""
    print(visible(text, LINES), file=sys.stderr if error else sys.stdout, flush=True)


def warn(text: str, stacklevel: int = 2) -> None:
    """Warn with text of one line."""
    warnings.warn(visible(text), stacklevel=stacklevel + 1)


def plain(text: str, style: str = "") -> Text:
    """Return text for a table, in which [brackets] are brackets."""
    return Text(visible(text, "\n"), style)


class Screen(Console):
    """A console that takes no text for markup, and shows as an escape what is no character to be seen."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **settings})

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return a text to be shown, as rich does, but without anything that rich would drop unseen."""
        return super().render_str(visible(text, LINES), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is to be shown; the styles and the moves of the cursor are rich's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text, LINES), segment.style)
