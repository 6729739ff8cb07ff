"""Names that a test registers are gone after it."""

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
