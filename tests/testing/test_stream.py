"""The check of streams accepts the digits, and finds a class that nothing teaches."""

from dataclasses import replace

import pytest

from softtf.streams import TaskStream, load_source, split_by_class
from softtf.testing import check_stream


def test_the_digits_are_lawful() -> None:
    check_stream(split_by_class(*load_source("digits"), num_tasks=5))


def test_a_class_that_nothing_teaches_is_found() -> None:
    first, *others = split_by_class(*load_source("digits"), num_tasks=5)
    with pytest.raises(AssertionError, match="training example"):
        check_stream(TaskStream([replace(first, classes=(*first.classes, "untaught")), *others]))
