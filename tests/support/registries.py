"""Names that a test registers, and the modules of the examples that it imports, are gone after it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from softtf.registry import REGISTRIES


@contextmanager
def forgetting_names() -> Iterator[None]:
    """Put every registry back as it was."""
    before = {what: (dict(found), dict(found.origins)) for what, found in REGISTRIES.items()}
    try:
        yield
    finally:
        for what, (names, origins) in before.items():
            for registry, kept in ((REGISTRIES[what], names), (REGISTRIES[what].origins, origins)):
                registry.clear()
                registry.update(kept)


@contextmanager
def forgetting_modules() -> Iterator[None]:
    """Let a file of the examples be imported again."""
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.startswith("my_")]:
            del sys.modules[name]
