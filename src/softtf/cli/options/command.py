"""What every command takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from softtf.config.tree import Settings

UNPREFIXED = arg(name="")
"""Marks a part whose options do not begin with its name."""


@dataclass(frozen=True, kw_only=True)
class Command(Settings):
    """What all commands take; the type of an option carries its bounds.

    Attributes:
        imports: a Python file of your own to run first; it defines a learner, an adaptation, ... (docs/extend). Repeat
            the option for another file.
    """

    imports: Annotated[UseAppendAction[tuple[Path, ...]], arg(name="import", metavar="FILE")] = ()
