import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softtf.config.bounds import (
    Above,
    AtLeast,
    AtMost,
    BatchSize,
    Below,
    Between,
    Bound,
    Count,
    Finite,
    Positive,
    Share,
    whole_number,
)
from softtf.config.tree import Settings, Spec, check_value, from_dict, to_dict
from softtf.config.words import described
from softtf.errors import UserError


class BoundedSpec(Spec, family="bounded"):
    pass


@dataclass(frozen=True)
class Bounded(BoundedSpec, kind="bounded"):
    count: Count = 1


@dataclass(frozen=True)
class Limits(Settings):
    epochs: Count = 1
    rate: Positive = 0.1
    clip: Positive | None = None
    shares: tuple[Share, ...] = ()
    schedule: Literal["constant", "cosine"] = "constant"
    folder: Path | None = None
    inner: BoundedSpec = Bounded()


@dataclass(frozen=True)
class Ordered(Settings):
    low: Count = 1
    high: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise UserError("low must not be above high")


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("bound", "within", "beyond", "words"),
    [
        (AtLeast(1), [1, 2, INF], [0, 0.99, -INF, NAN], "at least 1"),
        (AtMost(1e30), [1e30, 0, -INF], [1e31, INF, NAN], "at most 1e+30"),
        (Above(0), [1e-300, INF], [0, -0.0, -1, NAN], "above 0"),
        (Below(1), [0.99, -INF], [1, INF, NAN], "below 1"),
        (Between(1, 4096), [1, 4096], [0, 4097, NAN], "between 1 and 4,096"),
        (Finite(), [0, -1e300], [INF, -INF, NAN], "finite"),
    ],
)
def test_a_bound_holds_within_and_not_beyond(
    bound: Bound, within: list[float], beyond: list[float], words: str
) -> None:
    assert all(map(bound.holds, within)) and not any(map(bound.holds, beyond))
    assert str(bound) == words


@given(st.integers() | st.floats() | st.booleans() | st.none() | st.text())
def test_a_bounded_type_takes_what_its_type_and_its_bounds_take(value: Any) -> None:
    fits = type(value) in (int, float) and 0 < value < (2**1023 if type(value) is int else math.inf)
    try:
        found = check_value(Positive, value, "x")
    except UserError:
        assert not fits
    else:
        assert fits and found == float(value) and type(found) is float


WRONG = [
    ({"epochs": 0}, "epochs must be at least 1, not 0"),
    ({"epochs": "3"}, "epochs must be an integer, not '3'"),
    ({"epochs": True}, "epochs must be an integer, not True"),
    ({"epochs": 2.0}, "epochs must be an integer, not 2.0"),
    ({"epochs": None}, "epochs must be an integer, not null"),
    ({"rate": 0.0}, "rate must be above 0 and finite, not 0.0"),
    ({"rate": NAN}, "rate must be above 0 and finite, not nan"),
    ({"clip": -1}, "clip must be above 0 and finite, not -1.0"),
    ({"clip": "x"}, "clip must be a number (above 0 and finite) or null, not 'x'"),
    ({"shares": (0.5, 1.5)}, "shares[1] must be above 0 and at most 1, not 1.5"),
    ({"folder": 3}, "folder must be a path or null, not 3"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_a_setting_out_of_bounds_is_named_in_python_and_in_a_file(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Limits(**settings)
    assert str(caught.value) == message
    with pytest.raises(UserError) as caught:
        from_dict(Limits, settings, "run")
    assert str(caught.value) == f"run.{message}"


def test_a_misspelt_word_is_answered_with_near_ones_in_python_too() -> None:
    with pytest.raises(UserError, match="schedule: unknown value 'cosin'; did you mean 'cosine'"):
        Limits(schedule="cosin")  # type: ignore[arg-type]


def test_the_kind_of_a_spec_is_the_place_of_its_settings() -> None:
    with pytest.raises(UserError, match=r"^bounded\.count must be at least 1, not 0$"):
        Bounded(0)
    with pytest.raises(UserError, match=r"^run\.inner\.count must be at least 1, not 0$"):
        from_dict(Limits, {"inner": {"kind": "bounded", "count": 0}}, "run")


def test_values_given_in_python_become_what_a_file_gives() -> None:
    given = Limits(np.int64(2), 1, np.float32(0.5), [0.25], folder="a/b", inner=Bounded(3))  # type: ignore[arg-type]
    assert given == Limits(2, 1.0, 0.5, (0.25,), folder=Path("a/b"), inner=Bounded(3))
    assert repr(from_dict(Limits, to_dict(given))) == repr(given)


def test_a_subclass_checks_more_after_the_bounds() -> None:
    with pytest.raises(UserError, match="low must not be above high"):
        Ordered(2, 1)
    with pytest.raises(UserError, match="high must be at least 1"):
        Ordered(2, 0)


def test_bounds_are_described() -> None:
    assert described(Count) == "an integer (at least 1)"
    assert described(BatchSize | None) == "an integer (between 1 and 1,000,000) or null"
    assert described(Annotated[str, "no bound"]) == "a string"


def test_a_missing_bounded_setting_is_named_with_its_bounds() -> None:
    @dataclass(frozen=True)
    class Needed(Settings):
        count: Count

    with pytest.raises(UserError, match=r"^run\.count is missing; it must be an integer \(at least 1\)$"):
        from_dict(Needed, {}, "run")


@pytest.mark.parametrize("value", [2**63, -(2**63), 10**400])
def test_an_integer_that_no_machine_counts_to_is_out_of_bounds(value: int) -> None:
    with pytest.raises(UserError, match=r"epochs must be an integer of less than 64 bits, not (-?\d|one of)"):
        check_value(int, value, "epochs")


def test_whole_numbers_are_decimal_digits_and_not_many() -> None:
    texts = ["0", "007", "9" * 18, "9" * 19, "9" * 5000, "-1", "1.0", "", " 1", "one"]
    assert [whole_number(text) for text in texts] == [0, 7, 10**18 - 1, *[None] * 7]
