"""What commands take out of their arguments before `softtf.cli.flags` reads the settings."""

from softtf.errors import UserError
from softtf.screen import say


def take(args: list[str], flag: str) -> tuple[str | None, list[str]]:
    """Take `flag VALUE` or `flag=VALUE` out of the arguments."""
    for i, arg in enumerate(args):
        if arg == flag:
            if i + 1 == len(args) or args[i + 1].startswith("--"):
                raise UserError(f"{flag} needs a value")
            return args[i + 1], args[:i] + args[i + 2 :]
        if arg.startswith(flag + "="):
            return arg.removeprefix(flag + "="), args[:i] + args[i + 1 :]
    return None, args


def positionals(args: list[str], usage: str, at_least: int) -> tuple[list[str], list[str]]:
    """Split off what stands before the first flag, and all that stands behind `--`."""
    args, behind = _at_dashes(args)
    end = next((i for i, arg in enumerate(args) if arg.startswith("-") and arg != "-"), len(args))
    if wants_help(args):
        say(f"usage: {usage}")
        raise SystemExit(0)
    found = args[:end] + behind
    if len(found) < at_least or (at_least == 1 and len(found) > 1):
        raise UserError(f"usage: {usage}")
    return found, args[end:]


def wants_help(args: list[str]) -> bool:
    """Say whether help is asked for anywhere before `--`."""
    return bool({"-h", "--help"} & set(_at_dashes(args)[0]))


def _at_dashes(args: list[str]) -> tuple[list[str], list[str]]:
    cut = args.index("--") if "--" in args else len(args)
    return args[:cut], args[cut + 1 :]
