from pathlib import Path

import matplotlib
import pytest

from softtf.errors import UserError
from softtf.figures import save, style
from softtf.figures.convergence import Point
from softtf.figures.numbers import Numbers

PANELS = ("over steps", "over distance", "one task")
ROWS = [Point(panel, kind, 2, 1.0, 0.1, 0.2, 0.5) for panel in PANELS for kind in ("mask", "prompt")]
FOUND = Numbers(ROWS, "Policy: $x_1$ of ünïcode; \x1b[31m red")


@pytest.mark.slow
@pytest.mark.parametrize("ending", style.ENDINGS)
def test_a_file_has_its_form_and_its_numbers_beside_it(ending: str, tmp_path: Path) -> None:
    csv = save("convergence", FOUND, tmp_path / "new" / f"a{ending}")
    assert csv == tmp_path / "new" / "a.csv" and csv.read_text() == FOUND.to_csv()
    data = (tmp_path / "new" / f"a{ending}").read_bytes()
    assert data.startswith({".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[ending])
    save("convergence", FOUND, tmp_path / f"b{ending}")
    assert (tmp_path / f"b{ending}").read_bytes() == data


def test_no_state_of_matplotlib_changes(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    save("convergence", FOUND, tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before


def test_another_ending_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a figure's file ends in .png, .pdf, .svg"):
        save("convergence", FOUND, tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_more_series_than_looks_are_refused() -> None:
    style.check_series(7, "runs")
    with pytest.raises(UserError, match="at most 7 runs, not 8; name fewer"):
        style.check_series(8, "runs")


def test_series_differ_in_more_than_colour() -> None:
    looks = [style.look(i) for i in range(style.MOST)]
    assert len({look["marker"] for look in looks}) == len({look["color"] for look in looks}) == style.MOST
