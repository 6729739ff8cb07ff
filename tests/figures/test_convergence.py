import pytest

from figures import drawn, table
from softtf.figures import convergence, numbers_of


@pytest.fixture
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convergence, "PROBLEMS", 3)
    monkeypatch.setattr(convergence, "STEPS", (1, 4, 16))
    monkeypatch.setattr(convergence, "DISTANCES", (0.1, 1.0))
    monkeypatch.setattr(convergence, "STEPS_OF_DISTANCES", 16)


@pytest.mark.usefixtures("_smaller")
def test_rows_are_means_over_problems_and_below_their_bounds() -> None:
    found = numbers_of("convergence")
    rows = table(found)
    assert [sum(row["panel"] == p for row in rows) for p in ("over steps", "over distance", "one task")] == [6, 4, 6]
    assert all(float(row["suboptimality"]) <= float(row["worst"]) for row in rows)
    assert all(float(row["suboptimality"]) <= float(row["bound"]) for row in rows)
    unit = [row for row in rows if row["panel"] == "over steps"]
    assert [float(row["bound"]) for row in unit] == pytest.approx([int(row["steps"]) ** -0.5 for row in unit])
    (point,) = (r for r in rows if (r["panel"], r["parameter"], r["steps"]) == ("over steps", "mask", "4"))
    problems = [convergence.mask_problem(1.0, seed) for seed in range(3)]
    gaps = [problem.suboptimality(4) / problem.lipschitz for problem in problems]
    assert (float(point["suboptimality"]), float(point["worst"])) == pytest.approx((sum(gaps) / 3, max(gaps)))
    assert len(drawn("convergence", found).axes) == 3
