"""Streams of tasks: labelled raw inputs, their split into tasks, and batches made of them.

For data of your own, register a function as a `source`: it returns `Examples` to learn from and to test on.
`softtf.testing.check_stream` checks the stream that they are split into.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softtf.streams.public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """Return a public name; the first one loads them all, so that the list of data sets is read without torch."""
    if name.startswith("_") or name not in (public := import_module("softtf.streams.public")).__all__:
        raise AttributeError(f"module 'softtf.streams' has no attribute {name!r}")
    return getattr(public, name)
