"""What every command takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg


@dataclass(frozen=True, kw_only=True)
class Command:
    """What all commands take.

    Attributes:
        imports: a Python file of your own to run first; it defines a learner, an adaptation, ... (docs/extend). Repeat
            the option for another file.
    """

    imports: Annotated[UseAppendAction[tuple[Path, ...]], arg(name="import", metavar="FILE")] = ()
