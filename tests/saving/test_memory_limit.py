"""A limit of memory is a number of bytes, or one line says that it is not."""

from typing import Any

import pytest

from softtf.errors import UserError
from softtf.saving.memory_limit import bytes_of


@pytest.mark.parametrize(
    ("text", "number"), [("2GB", 2 * 10**9), ("1.5 mb", 1_500_000), ("700", 700), (12, 12), ("0", 0)]
)
def test_it_is_a_number_of_bytes(text: int | str, number: int) -> None:
    assert bytes_of(text) == number and bytes_of(None) is None


@pytest.mark.parametrize("text", ["much", "-1", "2 gigs", "", True])
def test_anything_else_is_refused_in_a_line(text: Any) -> None:
    with pytest.raises(UserError, match="memory_limit must be a number of bytes"):
        bytes_of(text)
