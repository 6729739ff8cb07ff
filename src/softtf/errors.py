"""Errors that a user's input can cause: one line that names the value, the place and the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Wrong input; the command line prints its message as one line and exits with code 2."""


class TrainingError(UserError):
    """Learning a task failed (a loss that is not finite, say); earlier tasks stay usable."""


class OutOfMemoryError(TrainingError):
    """A task needed more memory than there was; up to its last full epoch its training is worth going on from."""


def unknown(kind: str, name: str, options: Iterable[str]) -> UserError:
    """Return the error for a name that is not one of `options`, with the nearest ones."""
    known = sorted(options)
    near = get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return UserError(f"unknown {kind} {name!r}{hint} Known: {listed}")
