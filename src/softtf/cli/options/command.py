"""What every command takes."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import UseAppendAction, arg

from softtf.config.bounds import Count, NonNegative, Positive
from softtf.config.tree import Settings
from softtf.errors import UserError

URL_AS_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # of two slashes a path keeps one
UNPREFIXED = arg(name="")
"""Marks a part whose options do not begin with its name."""


@dataclass(frozen=True, kw_only=True)
class Command(Settings):
    """The options of all commands; the type of an option carries its bounds.

    Attributes:
        imports: a Python file of your own to run first; it defines a learner, an adaptation, ... (docs/extend). Repeat
            the option for another file.
    """

    imports: Annotated[UseAppendAction[tuple[Path, ...]], arg(name="import", metavar="FILE")] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        values = (getattr(self, field.name) for field in fields(self))
        for path in (path for value in values for path in (value if isinstance(value, tuple) else (value,))):
            if isinstance(path, Path) and URL_AS_PATH.match(str(path)) and not path.exists():
                raise UserError(
                    f"{path} is a URL, where a file or folder of this machine is meant; `softtf sweep` and"
                    " `softtf table` alone write to a URL, and copy their results to a folder here (docs/sweep.md)"
                )

    def given(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, by name."""
        own = [field for field in fields(self) if field.name != "imports"]
        return {field.name: value for field in own if (value := getattr(self, field.name)) != field.default}


@dataclass(frozen=True, kw_only=True)
class Many(Command):
    """The options of commands that do many runs.

    Attributes:
        jobs: how many runs go on at once on this machine, each in its own process; they share the cores.
        ray: do the runs on the Ray cluster at this address (auto finds it); without an address, on one of this machine
            alone (needs softtf[ray], docs/sweep.md).
        cpus: with --ray, the cores of each run.
        gpus: with --ray, the GPUs of each run, such as 0.5; without it, one where the cluster has any.
        memory: with --ray, the GiB of memory that each run needs.
    """

    jobs: Count = 1
    ray: tuple[str, ...] | None = None
    cpus: Count = 1
    gpus: NonNegative | None = None
    memory: Positive | None = None


def flag(name: str) -> str:
    """Return how an option is spelled on the command line."""
    return f"--{name.replace('_', '-')}"
