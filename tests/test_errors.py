"""Messages of errors are one line of some length, whatever they repeat."""

from pathlib import Path

import pytest

import softtf
from softtf.errors import LONGEST, MOST, UserError, catchable, first_line_of, one_line, reason_of, unknown


def test_a_message_is_cut_in_its_middle() -> None:
    message = str(UserError(f"seed must be an integer, not {'x' * 10**6}; give a smaller one"))
    assert len(message) < MOST + 10
    assert message.startswith("seed must be an integer, not xxx") and message.endswith("xxx; give a smaller one")
    assert str(UserError("x" * MOST)) == "x" * MOST


def test_another_librarys_message_becomes_one_line() -> None:
    assert one_line(OSError("cannot\n  open\tit ")) == "cannot open it"
    assert one_line("a\nb c", 3) == "a b" and len(one_line("x" * 10**6)) == MOST


def test_a_panic_of_rust_can_be_caught_and_an_interrupt_goes_through() -> None:
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(RuntimeError, match="index out of bounds"), catchable():
        raise panic("index out of bounds")
    with pytest.raises(KeyboardInterrupt), catchable():
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device", "a.json"), "No space left on device"),
        (OSError("the pipe is broken"), "the pipe is broken"),
        (ValueError("embedded null byte"), "embedded null byte"),
    ],
)
def test_the_reason_is_the_systems_words_or_the_errors_own(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("\n  404 Client Error  \n\nEntry not found"), "404 Client Error"),
        (KeyError(), "KeyError"),
        (ValueError("x" * 5000), "x" * LONGEST),
    ],
)
def test_the_first_line_is_short_and_never_empty(error: Exception, line: str) -> None:
    assert first_line_of(error) == line


def test_the_systems_reason_is_read_in_one_place() -> None:
    """By hand, a refusal of our own (`OSError("...")`, which has no `strerror`) was told as None."""
    sources = Path(softtf.__file__).parent.rglob("*.py")
    assert [path.name for path in sources if "strerror" in path.read_text()] == ["errors.py"]


def test_known_names_that_hold_a_comma_can_be_told_apart() -> None:
    assert str(unknown("task", "x", ["birds, 1", "fish"])) == "unknown task 'x'. Known: 'birds, 1', fish"
