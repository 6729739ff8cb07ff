"""The options of commands that list names and show the cache."""

from dataclasses import dataclass

from tyro.conf import Positional

from softtf.cli.options.command import Command


@dataclass(frozen=True, kw_only=True)
class Cache(Command):
    """Show where runs keep features of your images, and how many bytes they take; clear removes them.

    Attributes:
        action: show or clear.
        feature_cache: the folder, if it is not the usual one ($SOFTTF_CACHE, else ~/.cache/softtf/features).
    """

    action: Positional[str] = "show"
    feature_cache: str | None = None


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """List the names that commands take: recipes, methods, backbones, streams, policies, metrics, ...

    Attributes:
        names: the lists to show; without it, all.
    """

    names: Positional[tuple[str, ...]] = ()
