"""Charts as a part of a page: no ids that clash, no addresses, the page's own colours, and user text as text."""

import re

import numpy as np

from softtf.report.charts import CORNERS, _corners, heat_map, lines, points
from softtf.report.svg import VARIABLES

HOSTILE = '<script>alert(1)</script> $\\frac{x}$ & "quoted" #010203'


def test_user_text_is_neither_markup_nor_a_formula() -> None:
    svg = lines({HOSTILE: [1.0, 2.0]}, "after task", "accuracy", "c")
    assert "<script" not in svg and "alert(1)&lt;/script&gt; $\\frac{x}$ &amp;" in svg
    assert "#010203" in re.sub(r"<[^>]*>", "", points([("#010203", 1.0, 2.0)], "x", "y", "p")), "what users write stays"


def test_a_chart_names_no_address_and_shares_no_id() -> None:
    a = np.full((3, 3), 50.0)
    charts = [heat_map(a, "x", "y", "one"), heat_map(a, "x", "y", "two"), lines({"a": [1, 2]}, "x", "y", "three")]
    assert not any("http" in svg or "xmlns" in svg for svg in charts)
    ids = [found for svg in charts for found in re.findall(r'\bid="([^"]+)"', svg)]
    assert ids and len(ids) == len({*ids})
    assert all(f"#{found}" in "".join(charts) for found in ids), "an id that nothing uses"


def test_colours_are_those_of_the_page() -> None:
    svg = lines({"a": [1, 2], "b": [2, 3]}, "x", "y", "c")
    assert {"--ink", "--line", "--c0", "--c1"} <= {*re.findall(r"var\((--\w+)\)", svg)}
    assert not any(colour in svg for colour in VARIABLES)


def test_the_same_numbers_give_the_same_chart() -> None:
    assert len({lines({"a": [1, 2]}, "x", "y", "c") for _ in range(2)}) == 1


def test_cells_that_are_not_defined_stay_empty() -> None:
    a = np.array([[10.0, 20.0], [np.nan, 30.0]])
    assert {*re.findall(r">(\d+)</text>", heat_map(a, "x", "y", "h"))} >= {"10", "20", "30"}
    assert "nan" not in heat_map(a, "x", "y", "h")
    assert len(re.findall("</text>", heat_map(np.full((30, 30), 5.0), "x", "y", "h"))) < 60, "no number in each cell"


def test_numbers_of_points_that_lie_together_stand_apart() -> None:
    together = [("a", 100.0, 30.0), ("b", 101.0, 30.1), ("c", 99.0, 29.9)]
    places = [*together, ("far", 1000.0, 30.0), ("above", 100.0, 60.0)]
    found = _corners(places)
    assert len({*found[:3]}) == 3 and found[3:] == [CORNERS[0]] * 2 and _corners([("alone", 1.0, 0.0)]) == [CORNERS[0]]
    quickstart = [("1", 58, 32.8), ("2", 61, 42.9), ("3", 9, 32.2), ("4", 140, 98.3), ("5", 67, 32.5), ("6", 62, 35.9)]
    x, y = np.log([p[1] for p in quickstart]), np.array([p[2] for p in quickstart])
    spots = np.stack([260 * (x - x.min()) / np.ptp(x), 130 * (y - y.min()) / np.ptp(y)], 1)
    numbers = spots + _corners(quickstart)
    assert min(np.hypot(*(numbers[i] - numbers[j])) for i in range(6) for j in range(i)) > 9


def test_long_names_that_begin_alike_are_told_apart() -> None:
    name = "A method (learner.adapt.layers=10-12, learner.adapt.targets=only ATTN): Gradient ID, per-sample"
    svg = lines({f"{name}{end}": [1.0, 2.0] for end in ("", ", own classes")}, "x", "y", "c")
    assert "own classes" in svg and lines({name * 9: [1.0]}, "x", "y", "c").count("Gradient ID") <= 3
