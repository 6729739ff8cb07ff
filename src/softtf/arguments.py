"""What commands take out of their arguments before `softtf.flags` reads the settings."""

from softtf.errors import UserError


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
    """Split off what stands before the first flag."""
    end = next((i for i, arg in enumerate(args) if arg.startswith("-") and arg != "-"), len(args))
    if wants_help(args):
        print(f"usage: {usage}")
        raise SystemExit(0)
    if end < at_least or (at_least == 1 and end > 1):
        raise UserError(f"usage: {usage}")
    return args[:end], args[end:]


def wants_help(args: list[str]) -> bool:
    """Say whether help is asked for anywhere among the arguments."""
    return bool({"-h", "--help"} & set(args))
