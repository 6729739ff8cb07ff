"""The `softtf` command."""

from softtf.cli.main import main

__all__ = ["main"]
