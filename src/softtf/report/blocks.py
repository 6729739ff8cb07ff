"""The parts of a page; the template draws each kind and escapes all of their texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Block:
    """A part of a page; the template's macro with the name of its class draws it."""

    @property
    def kind(self) -> str:
        """The name of the macro."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Note(Block):
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Grid(Block):
    """A table.

    Attributes:
        caption: what it shows, and under which policy.
        headers: of the columns.
        rows: texts, one per header in each row.
        text_columns: the number of columns, from the left, that hold text; the others hold right-aligned numbers.
        sortable: whether a click on a header sorts it.
        marked: (row, column) of the cells to highlight.
    """

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    sortable: bool = False
    marked: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Chart(Block):
    """A chart: its SVG markup from `softtf.report.svg`, a caption, and its numbers as a table."""

    svg: str
    caption: str
    numbers: Grid | None = None


@dataclass(frozen=True)
class Picture:
    """A test sample: a data URI of its picture, or its text, or neither; and lines about it."""

    uri: str
    text: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Gallery(Block):
    """Samples side by side under a caption."""

    caption: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Code(Block):
    """Preformatted text, such as settings."""

    caption: str
    text: str


@dataclass(frozen=True)
class Links(Block):
    """Addresses of files, relative to the page, with their names."""

    caption: str
    targets: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Columns(Block):
    """Blocks side by side where there is room."""

    blocks: Sequence[Block]


@dataclass(frozen=True)
class Fold(Block):
    """Blocks that are shown once their title is clicked."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Section(Block):
    """A part of the page with a heading, which the page's list of contents names."""

    id: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)
    level: int = 2
