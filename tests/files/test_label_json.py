"""Labels in JSON: each comes back with its type, and look-alikes stay apart."""

import enum
import json
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softtf.errors import UserError
from softtf.files import label_json

plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
labels = st.recursive(plain, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=8)


def exact(label: object) -> str:
    """Tell 1, True, 1.0 and "1" apart, and 0.0 from -0.0, at any depth."""
    return repr(label)


@settings(deadline=None)
@given(labels)
def test_labels_come_back_with_their_type(label: object) -> None:
    text = json.dumps(label_json.encode_label(label), allow_nan=False)
    assert exact(label_json.decode_label(json.loads(text))) == exact(label)


@settings(deadline=None)
@given(st.lists(labels, unique_by=exact))
def test_distinct_labels_have_distinct_texts(distinct: list[object]) -> None:
    assert len({json.dumps(label_json.encode_label(label)) for label in distinct}) == len(distinct)


def test_look_alikes_stay_apart() -> None:
    alike = [1, True, 1.0, "1", b"1", (1,), "true", "null", None, ("bytes",), -0.0, 0.0, 0, False, ""]
    assert [exact(label_json.decode_label(json.loads(json.dumps(label_json.encode_label(x))))) for x in alike] == [
        exact(x) for x in alike
    ]


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.bytes_(b"a"), b"a"),
        ((np.int64(3), np.str_("b")), (3, "b")),
    ],
)
def test_numpy_scalars_become_python_values(scalar: object, value: object) -> None:
    assert exact(label_json.decode_label(label_json.encode_label(scalar))) == exact(value)


class Colour(enum.IntEnum):
    RED = 1


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "label",
    [float("nan"), float("inf"), np.float32("-inf"), np.longdouble(1), np.datetime64("2020-01-01"), 1j]
    + [np.datetime64("2020-01-01", "ns"), np.timedelta64(1, "ns"), ("a", np.datetime64(5, "ns"))]
    + [frozenset({1}), Colour.RED, Pair(1, 2), "\ud800", ("a", object()), Path("a")],
)
def test_other_labels_are_refused_with_a_remedy(label: object) -> None:
    with pytest.raises(UserError, match="cannot save the label .*; use strings or integers"):
        label_json.encode_label(label)


@pytest.mark.parametrize(
    "value", [{}, {"bytes": 1}, {"bytes": "%"}, {"bytes": "YQ==", "x": 1}, float("nan"), [float("inf")]]
)
def test_other_json_is_no_label(value: object) -> None:
    with pytest.raises(UserError, match="is not a saved label"):
        label_json.decode_label(value)
