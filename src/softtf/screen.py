"""Output on the screen; the name of a file, a class or a task can neither move the cursor nor change colours.

Everything that softtf prints goes through `saying` or a `Screen`.
"""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from softtf.errors import visible
from softtf.saying import LINES


def plain(text: str, style: str = "") -> Text:
    """Return text for a table; [brackets] in it are not markup."""
    return Text(visible(text, "\n"), style)


def duration(seconds: float) -> str:
    """Return a time such as 41.2 s, 6 min 5 s or 2 h 4 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Screen(Console):
    """A console that reads no markup and shows an escape for each character that cannot be seen."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **settings})

    def wide(self, width: int) -> "Screen":
        """Return this console; in a pipe, which has no width of its own, one of so many characters."""
        return self if self.is_terminal else Screen(width=width, quiet=self.quiet)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return text as rich does, with an escape for each character that rich would drop."""
        return super().render_str(visible(text, LINES), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments to show; only rich's own segments set styles and move the cursor."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text, LINES), segment.style)
