"""Layers as people write them, from 1, to blocks from 0."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softtf.adaptations.base import parse_layers
from softtf.errors import UserError


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("10,11,12", (9, 10, 11)),
        ("10-12", (9, 10, 11)),
        ("L[10,11,12]", (9, 10, 11)),
        ("l[3]", (2,)),
        ("1-2,5", (0, 1, 4)),
        ("1-2 5", (0, 1, 4)),
        (" 5 , 1-2 ", (0, 1, 4)),
        ("12,10,11", (9, 10, 11)),
        ("7-7", (6,)),
        ("all", tuple(range(12))),
        ("ALL", tuple(range(12))),
        ("none", ()),
        ("", ()),
        ((), ()),
        ((3, 1), (0, 2)),
    ],
)
def test_notations(text: str | tuple[int, ...], blocks: tuple[int, ...]) -> None:
    assert parse_layers(text, 12) == blocks


@given(st.sets(st.integers(1, 12)))
def test_a_tuple_a_list_in_text_and_the_papers_form_agree(layers: set[int]) -> None:
    wanted = tuple(sorted(n - 1 for n in layers))
    listed = ",".join(map(str, layers))
    assert parse_layers(tuple(layers), 12) == parse_layers(listed, 12) == parse_layers(f"L[{listed}]", 12) == wanted


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("13", ("no layer 13", "layers 1 to 12")),
        ("10-13", ("no layer 13", "layers 1 to 12")),
        ((0,), ("no layer 0", "counted from 1")),
        ("0-2", ("no layer 0",)),
        ("12-10", ("12-10", "backwards", "10-12")),
        ("3,3", ("twice",)),
        ("2-4,4", ("twice",)),
        ((5, 5), ("twice",)),
        ("ten", ("'ten'", "no layer")),
        ("1-2-3", ("'1-2-3'",)),
        ("-3", ("'-3'",)),
        ("2.5", ("'2.5'",)),
    ],
)
def test_errors_name_the_setting_and_the_remedy(layers: str | tuple[int, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        parse_layers(layers, 12, "e_layers")
    assert all(word in str(caught.value) for word in ("e_layers", *words)) and "\n" not in str(caught.value)


def test_without_a_depth_only_what_is_wrong_for_any_backbone_is_refused() -> None:
    assert parse_layers("99") == (98,)
    parse_layers("all")
    for wrong in ("0", "4-2", "1,1", "x"):
        with pytest.raises(UserError):
            parse_layers(wrong)
