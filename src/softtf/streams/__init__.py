"""Streams of tasks: labelled raw inputs, how they are split into tasks, and how batches are made of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softtf.streams.public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """Return a public name; all are loaded with the first, so that the list of data sets is read without torch."""
    if name.startswith("_") or name not in (public := import_module("softtf.streams.public")).__all__:
        raise AttributeError(f"module 'softtf.streams' has no attribute {name!r}")
    return getattr(public, name)
