"""The options of a command from the words of the command line."""

from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any, Union

import tyro
from tyro.conf import subcommand

from softtf.cli.commands import COMMANDS
from softtf.cli.importing import import_files
from softtf.cli.options import OPTIONS, Command
from softtf.cli.parse import CONFIG, asks_help, glimpse, parse


def command_of(argv: list[str]) -> Command:
    """Return the options of a command, after importing the files that it names.

    Raises:
        UserError: an option or a value is wrong.
    """
    name, args = argv[0], argv[1:]
    import_files(glimpse(Command, args, f"softtf {name}").imports)
    default = import_module("softtf.cli.run").settings(args) if name == "run" and not asks_help(args) else None
    kind = OPTIONS[name] if default is None else type(default)
    found: Command = parse(kind, args, " ".join(["softtf", name, *args[: bool(default)]]), default)
    return found


def completion(argv: list[str]) -> None:
    """Print the script by which a shell completes commands and options."""
    tree: Any = Union[tuple(Annotated[k, subcommand(n, description=COMMANDS[n])] for n, k in OPTIONS.items())]  # noqa: UP007
    with suppress(SystemExit):
        tyro.cli(tree, prog="softtf", args=argv, config=CONFIG)
