"""Messages of errors are one line of some length, whatever they repeat."""

import pytest

from softtf.errors import MOST, UserError, catchable


def test_a_message_is_cut_in_its_middle() -> None:
    message = str(UserError(f"seed must be an integer, not {'x' * 10**6}; give a smaller one"))
    assert len(message) < MOST + 10
    assert message.startswith("seed must be an integer, not xxx") and message.endswith("xxx; give a smaller one")
    assert str(UserError("x" * MOST)) == "x" * MOST


def test_a_panic_of_rust_can_be_caught_and_an_interrupt_goes_through() -> None:
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(RuntimeError, match="index out of bounds"), catchable():
        raise panic("index out of bounds")
    with pytest.raises(KeyboardInterrupt), catchable():
        raise KeyboardInterrupt
