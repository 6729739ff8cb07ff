"""JSON of strangers: as Python reads it, or refused in one line before it costs anything."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softtf.errors import UserError
from softtf.files.plain_json import DEEPEST, LARGEST, ManyPartsError, fits, parse_json, read_json, read_object

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=9,
)


def depth(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if parts is None else 1 + max(map(depth, parts), default=0)


@given(values, st.booleans(), st.sampled_from([None, 2]))
def test_what_python_writes_comes_back(value: Any, ascii_only: bool, indent: int | None) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only, indent=indent), "here") == value


@given(st.text('[]{}"\\,: a1'))
def test_of_any_text_it_says_what_python_says_or_refuses_it(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(UserError, match="^here cannot be read: "):
            parse_json(text, "here")
        return
    assert depth(expected) > DEEPEST or '"' in text or parse_json(text, "here") == expected


@given(st.integers(0, 2 * DEEPEST), st.sampled_from(["[", '{"a":']))
def test_depth_is_bounded_whatever_is_in_strings(levels: int, opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    text = opening * levels + json.dumps("[{" * 999 + '\\"' * 9) + closing * levels
    if levels > DEEPEST:
        with pytest.raises(UserError, match=f"nested more than {DEEPEST} deep"):
            parse_json(text, "here")
    else:
        assert depth(parse_json(text, "here")) == levels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 10**6, "more than"),
        ('{"a":' * 10**6, "more than"),
        ('{"b": {"a": 1, "c": 2, "a": 3}}', "'a' is given twice"),
        ("[NaN]", "NaN is not a JSON number"),
        ("-Infinity", "-Infinity is not a JSON number"),
        ("1e999", "too large for a float"),
        ("9" * 5000, "4300 digits"),
        ('"' + "\\" * 99_999, "Unterminated"),
        ('"\\"' * 99_999, "Extra data"),
        ("", "Expecting value"),
    ],
)
def test_what_json_is_not_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UserError, match=f"^here cannot be read: .*{words}") as caught:
        parse_json(text, "here")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@given(values)
def test_parts_are_counted_outside_of_strings(value: Any) -> None:
    text = json.dumps(value)
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "#", text)
    parts = sum(outside.count(part) for part in "#[]{},")
    assert parse_json(text, "here", most=parts) == value
    if parts:
        with pytest.raises(ManyPartsError, match=f"more than {parts - 1} values"):
            parse_json(text, "here", most=parts - 1)


@pytest.mark.parametrize("part", ["[],", '"",', "{},", "0,", "[]", "]", '"'])
def test_of_many_parts_none_becomes_a_value(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", None)
    with pytest.raises(ManyPartsError):
        parse_json('{"images": [' + part * 10**6, "here", most=100)


def test_rows_of_data_may_have_numbers_that_are_none() -> None:
    found = parse_json('{"a": NaN, "b": 1e999}', "here", finite=False)
    assert found["a"] != found["a"] and found["b"] == float("inf")


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for make, words in (
        (lambda: None, "missing"),
        (file.mkdir, "cannot be read"),
        (lambda: (file.rmdir(), os.mkfifo(file)), "cannot be read"),
        (lambda: (file.unlink(), file.symlink_to("/dev/zero")), "cannot be read"),
        (lambda: (file.unlink(), file.write_bytes(b" " * (LARGEST + 1))), f"at most {LARGEST:,} are read"),
        (lambda: file.write_bytes(b"\xff"), "UTF-8"),
        (lambda: file.write_bytes(b"\xef\xbb\xbf1"), "BOM"),
    ):
        make()
        with pytest.raises(UserError, match=words):
            read_json(file)
    file.write_bytes(b"3")
    assert read_json(file) == 3
    with pytest.raises(UserError, match="x.json cannot be read: it does not hold a JSON object"):
        read_object(file)


@pytest.mark.parametrize(
    ("form", "right", "wrong"),
    [
        (int, [0, -1, 2**62], [True, 1.0, "1", None, 2**64]),
        (float, [0.5], [1, "x"]),
        (str, ["", "a"], [1, None, ["a"]]),
        (None, [None], [0, False, ""]),
        ((None, int), [None, 3], ["", 3.5]),
        ([int], [[], [1, 2]], [[1, "2"], {}, 1, None]),
        ({"a": int}, [{"a": 1}, {"a": 1, "b": "x"}], [{}, {"a": "1"}, [], None]),
        ({str: [int]}, [{}, {"x": [1]}], [{"x": 1}, {"x": ["1"]}, []]),
    ],
)
def test_forms(form: Any, right: list[Any], wrong: list[Any]) -> None:
    assert all(fits(value, form) for value in right) and not any(fits(value, form) for value in wrong)
