"""Charts of a page: no name of a legend leaves the picture."""

from softtf.report.charts import lines


def test_two_long_names_stand_one_under_the_other() -> None:
    def heights(names: tuple[str, str]) -> list[str]:
        drawn = lines(dict.fromkeys(names, [1.0, 2.0]), "task", "%", "chart")
        before = [drawn[: drawn.index(f">{name}<")] for name in names]
        return [text.rpartition(' y="')[2].partition('"')[0] for text in before]

    long, short = heights(("a" * 40, "b" * 40)), heights(("mine", "theirs"))
    assert long[0] != long[1] and short[0] == short[1]
