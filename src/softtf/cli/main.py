"""The `softtf` command."""

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from softtf.cli.stopping import exit_code, stopped, stopped_by_signals
from softtf.devices.memory import is_shortage, wanted
from softtf.errors import UserError, unknown
from softtf.screen import say

USAGE = """usage: softtf COMMAND ...

  quickstart [--text]        learn five tasks of handwritten digits, or of docstrings, offline; compare the methods
  run RECIPE [--method M] [--scale mini] [--output DIR] [--SETTING VALUE ...]
                             learn a stream (softtf run RECIPE --help lists every setting)
  run FILE.csv ...           learn your own texts: columns text, label and maybe task (.csv, .tsv, .jsonl, .parquet)
  run --config FILE          run a config.yaml again
  resume DIR                 go on with a run that was stopped
  predict DIR FILE|FOLDER|TEXT...
                             label images or texts; the task is inferred for each (--json, --inference, --task)
  evaluate DIR [--policy P ...]
                             score a finished learner under other policies, without training; saved in its folder
  table [N] [--scale mini] [--rows ...] [--streams ...] [--seeds ...] [--source ...]
                             run a table of the paper, or what is left of it, and print it
  list [recipes|methods|backbones|adaptations|learners|streams|tables|policies]
"""


def main(args: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit code: 0, 1 if an input was not read, 2 for wrong input, 130 after Ctrl-C, 143 after SIGTERM, 129 after
        SIGHUP.
    """
    with stopped_by_signals() as leave:
        try:
            return _run(sys.argv[1:] if args is None else args)
        except BaseException as error:
            if (stop := stopped(error)) is None:
                raise
            leave()
            with suppress(OSError):  # of a terminal that is gone
                say("softtf: stopped", error=True)
            _flush()
            return exit_code(stop)


def _run(argv: list[str]) -> int:
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # they would cut through ours
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # its retries; what they come to is told in one line
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show is escaped
            stream.reconfigure(errors="backslashreplace")
    if not argv or argv[0] in ("-h", "--help", "help"):
        say(USAGE.rstrip())
        return 0 if argv else 2
    try:
        commands = _commands()
        if argv[0] not in commands:
            raise unknown("command", argv[0], commands)
        return commands[argv[0]](argv[1:])
    except UserError as error:
        if stopped(error):
            raise
        say(f"softtf: error: {' '.join(str(error).split())}", error=True)
        return 2
    except (MemoryError, RuntimeError) as error:
        if stopped(error) or not is_shortage(error):
            raise
        command, amount = argv[0], wanted(error)
        say(
            f"softtf: error: there is not enough memory to {command}{amount}; free memory, or give less at once"
            " (softtf COMMAND --help: batch sizes, --masks disk)",
            error=True,
        )
        return 2
    except BrokenPipeError:  # the reader of a pipe, such as head, has enough
        _flush()
        return 0
    except OSError as error:  # a full disk, a missing permission
        if stopped(error):
            raise
        say(f"softtf: error: {error.filename or 'input or output'}: {error.strerror or error}", error=True)
        return 2


def _flush() -> None:
    """Write out what was printed, or drop it if nobody can read it any more: else Python would complain at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _commands() -> dict[str, Callable[[list[str]], int]]:
    # Here, so that torch and timm are loaded only when a command needs them.
    from softtf.cli import commands
    from softtf.cli import predict as predict_command
    from softtf.cli import table as table_command

    return {
        "quickstart": commands.quickstart,
        "run": commands.run,
        "resume": commands.resume,
        "predict": predict_command.predict,
        "evaluate": commands.evaluate,
        "table": table_command.table,
        "list": commands.show_list,
    }
