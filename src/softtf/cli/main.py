"""The `softtf` command."""

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from importlib import import_module

import softtf
from softtf.cli.commands import COMMANDS, overview
from softtf.cli.stopping import exit_code, stopped_by_signals
from softtf.devices.launch import launched, may_speak, shows, unreadable
from softtf.devices.waiting import waiting
from softtf.errors import UserError, interrupt_of, refusal_of, unknown
from softtf.saying import note, say

SHELLS = ("bash", "zsh", "fish", "tcsh")  # in which tyro completes commands
DIVIDED = ("run", "resume")
"""The commands that several processes can carry out together (docs/devices.md)."""


def main(args: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit code: 0; 1 if an input could not be read; 2 for wrong input; 130 after Ctrl-C, 143 after SIGTERM, 129
        after SIGHUP.
    """
    with stopped_by_signals() as leave:
        try:
            return _run(sys.argv[1:] if args is None else args)
        except BaseException as error:
            if (stop := interrupt_of(error)) is None:
                raise
            leave()
            with suppress(OSError):  # of a terminal that is gone
                _tell("stopped")
            _flush()
            return exit_code(stop)
        finally:
            if launched() > 1:  # after the error was told, since the others then say that a process has ended
                import_module("softtf.devices.processes").leave()


def _run(argv: list[str]) -> int:
    os.environ |= waiting(os.environ)  # before torch is loaded
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # they would cut through ours
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # its retries; their outcome is told in one line
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show is escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        if not argv or argv[0] == "help" or argv[0].startswith("-"):
            return _about(argv)
        if argv[0] not in COMMANDS:
            raise unknown("command", argv[0], COMMANDS)
        options = import_module("softtf.cli.command_line").command_of(argv)
        with _one_of_several(argv[0]):
            return int(import_module(f"softtf.cli.{argv[0]}").run(options))
    except SystemExit as leaving:  # help was asked for
        return leaving.code if isinstance(leaving.code, int) else 0
    except UserError as error:
        if interrupt_of(error):
            raise
        _tell(f"error: {' '.join(str(error).split())}")
        return 2
    except (MemoryError, RuntimeError) as error:
        from softtf.devices.memory import is_shortage, wanted

        if interrupt_of(error) or not is_shortage(error):
            raise
        command, amount = argv[0], wanted(error)
        _tell(
            f"error: there is not enough memory to {command}{amount}; free memory, or give less at once"
            " (softtf COMMAND --help: batch sizes, --memory-limit 0)"
        )
        return 2
    except BrokenPipeError:  # the reader of a pipe, such as head, has enough
        _flush()
        return 0
    except OSError as error:  # a full disk, a missing permission
        if interrupt_of(error):
            raise
        _tell(f"error: {refusal_of(error)}")
        return 2


@contextmanager
def _one_of_several(command: str) -> Iterator[None]:
    """Within the block, a process that `torchrun` or `accelerate launch` started beside the first prints nothing.

    Raises:
        UserError: the command does not divide its work among processes, or the launcher's variables are not numbers.
    """
    if name := unreadable():
        raise UserError(
            f"{name} is {os.environ[name]!r}, and torchrun or accelerate launch sets it to a number; unset it"
        )
    if launched() == 1:
        yield
        return
    if command not in DIVIDED:
        raise UserError(
            f"`softtf {command}` does not divide its work among processes, of which {launched()} were started; start"
            f" it without torchrun and accelerate launch. These do: {', '.join(DIVIDED)}"
        )
    if shows():
        yield
        return
    warnings.simplefilter("ignore")
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def _tell(line: str) -> None:
    """Say why the command ends, in one of the processes of a run."""
    if may_speak():
        note(line)


def _flush() -> None:
    """Flush stdout. If its reader is gone, send it to the null device, or Python would print an error at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _about(argv: list[str]) -> int:
    """Print the help of all commands, the version, or the completion script of a shell."""
    if argv == ["--version"]:
        say(f"softtf {softtf.__version__}")
        return 0
    completes = argv[:1] in (["--tyro-print-completion"], ["--tyro-write-completion"])
    if completes and argv[1:2] not in ([shell] for shell in SHELLS):
        raise UserError(f"{argv[0]} needs a shell: {', '.join(SHELLS)}")
    if not completes and argv and argv[0] not in ("help", "-h", "--help"):
        raise UserError(f"unknown option {argv[0]!r}; name a command: {', '.join(COMMANDS)} (`softtf --help`)")
    if completes:
        import_module("softtf.cli.command_line").completion(argv)
    else:
        say(overview())
    return 0 if argv else 2
