"""Names of softtf's own classes and functions, and of those in files that the user imports."""

from collections.abc import Callable
from typing import Any, TypeVar

from softtf.errors import UserError

T = TypeVar("T")
OURS = "softtf."

REGISTRIES: "dict[str, Registry[Any]]" = {}


class Registry(dict[str, T]):
    """Things by name. A user's file can add to them, but not replace one.

    Args:
        what: the word for one of them, such as "metric"; `own` finds the registry by it.
        taken: returns whether a user cannot give a name, besides those that are registered.
    """

    def __init__(self, what: str, taken: Callable[[str], bool] = lambda name: False) -> None:
        super().__init__()
        self.what, self.taken = what, taken
        self.origins: dict[str, str] = {}
        REGISTRIES[what] = self

    def add(self, name: str, value: T, origin: Any) -> None:
        """Register a class or a function by name; defined again, as in a notebook, it replaces itself.

        Raises:
            UserError: another class or function has the name.
        """
        place = f"{origin.__module__}.{origin.__qualname__}"
        if self.origins.get(name, place) != place or (not place.startswith(OURS) and self.taken(name)):
            raise UserError(f"{self.what}: the name {name!r} is taken; give {place} another")
        self[name], self.origins[name] = value, place


def own(what: str) -> dict[str, Any]:
    """Return what imported files have added to a registry; empty if the registry's module is not loaded yet."""
    found = REGISTRIES.get(what)
    return {} if found is None else {n: v for n, v in found.items() if not found.origins[n].startswith(OURS)}
