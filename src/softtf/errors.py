"""Errors that a user's input causes: one line that names the value, the place and the remedy."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from unicodedata import category

UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (such as right-to-left marks), lone surrogates, line ends
LONGEST = 200
"""The most characters of an unknown name, or of another library's words, that a message repeats."""
IMPORT_FIRST = "if it is in a file of yours, import that first: `import my_file` in Python, --import FILE in a command"
MOST = 1500
"""The most characters of a message."""
JOINERS = "\u200c\u200d"  # they join letters in Persian and Hindi, and emoji, so their effect is visible


def visible(text: str, keep: str = "") -> str:
    r"""Return text with an escape for each character that cannot be seen: \x1b for ESC, \n for a line end.

    A terminal acts on some of these characters. Text that somebody else wrote (names of files, classes and tasks,
    JSON) is therefore shown in this form.

    Args:
        text: any text; escapes in it stay as they are.
        keep: characters that are not escaped.
    """
    if text.isascii() and text.isprintable():
        return text
    unseen = (char for char in set(text) - {*keep, *JOINERS} if category(char) in UNSEEN)
    return text.translate({ord(char): ascii(char)[1:-1] for char in unseen})


class UserError(ValueError):
    """Wrong input; the command line prints its message as one line and exits with code 2."""

    def __init__(self, message: str) -> None:
        if len(message) > MOST:  # it repeats something of a file
            message = f"{message[: MOST // 2]} ... {message[-MOST // 2 :]}"
        super().__init__(visible(message, "\n\t"))


def one_line(error: object, most: int = MOST) -> str:
    """Return the message of another library's error in one line of at most `most` characters."""
    return " ".join(str(error).split())[:most]


@contextmanager
def catchable() -> Iterator[None]:
    """Raise a RuntimeError in place of a panic of a library written in Rust, which is no `Exception`."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(str(error)) from None


class TrainingError(UserError):
    """Learning a task failed, for example because the loss is not finite; earlier tasks stay usable."""


class ShortageError(UserError):
    """There is not enough memory for what was asked."""


class OutOfMemoryError(TrainingError, ShortageError):
    """A task needed more memory than there was; its training can go on from its last full epoch."""


def interrupt_of(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the interrupt that caused this error; None if none did.

    A signal may go to all processes of a terminal or a job. A process that loads data may then end first, and the error
    is that it is gone.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error


def reason_of(error: BaseException) -> str:
    """Return why another library's call failed: the operating system's words, if it has some, or the error's own."""
    return getattr(error, "strerror", None) or str(error)


def refusal_of(error: OSError) -> str:
    """Return what the operating system refused and why, such as a full disk or a missing permission."""
    return f"{error.filename or 'input or output'}: {reason_of(error)}"


def first_line_of(error: BaseException) -> str:
    """Return the first line of what another library says, or the kind of its error if it says nothing; cut if long."""
    return str(error).strip().partition("\n")[0].strip()[:LONGEST] or type(error).__name__


def unknown(kind: str, name: str, options: Iterable[str], imports: bool = False) -> UserError:
    """Return the error for a name that is not one of `options`, with the nearest ones.

    Args:
        kind: what the name should be of, such as "learner".
        name: the unknown one.
        options: those that are known.
        imports: whether a file of the user's can define it.
    """
    known = sorted(options)
    name = name[:LONGEST]
    near = get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    shown = [repr(option) if "," in option else option for option in known[:12]]
    listed = f" Known: {', '.join(shown)}{', ...' if len(known) > 12 else ''}" if known else ""
    remedy = f" ({IMPORT_FIRST})" if imports else ""
    return UserError(f"unknown {kind} {name!r}{hint}{listed}{remedy}")
