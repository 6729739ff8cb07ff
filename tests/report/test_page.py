"""A page of runs: its numbers are the runs' own, text is never markup, and it stands alone."""

import json
import re
import shutil
from pathlib import Path
from statistics import mean, stdev
from urllib.parse import unquote

import pytest

from cli import call, output, read_json, refused, unfinish
from report.conftest import HOSTILE
from saved_by_0_1.make import HERE
from softtf.evaluation.metrics import METRICS
from softtf.report import page as page_module
from softtf.report.found import read_run
from softtf.report.page import write_page
from support.pages import Page, Table, browsed

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]


def page_of(*paths: Path, images: bool = True, to: Path | None = None) -> Page:
    return Page(write_page(paths, to, images).read_text())


def number(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


def check_summary(table: Table, summary: dict[str, dict[str, float]]) -> None:
    found = {row[0]: row[1:] for row in table.rows[1:]}
    assert found.keys() == {policy["title"] for policy in summary.values()}
    for policy in summary.values():
        numbers = [number(text) for text in found[str(policy["title"])]]
        assert numbers[:-1] == pytest.approx([policy[name] for name in METRICS], abs=0.0051)


def test_every_number_is_the_runs_own(run: Path) -> None:
    page = page_of(run)
    check_summary(page.table("Summary"), read_json(run / "summary.json")["policies"])
    matrix = read_json(run / "accuracy.json")["feature-id:top64:joint"]
    shown = page.table("Accuracy matrix a[i,t]")
    for t, counts in enumerate(matrix["correct"]):
        for i, correct in enumerate(counts):
            assert number(shown.rows[1 + i][1 + t]) == pytest.approx(100 * correct / matrix["total"][i], abs=0.0051)
    oracle = read_json(run / "accuracy.json")["oracle"]
    ceiling = page.table("Accuracy of each task after the last one, Feature ID").column("Task given, %")
    assert [*map(number, ceiling)] == pytest.approx(
        [100 * c / n for c, n in zip(oracle["correct"][-1], oracle["total"], strict=True)], abs=0.0051
    )
    taken = page.table("Samples of each task, by the task they were taken for; Feature ID")
    assert [int(row[1 + i]) for i, row in enumerate(taken.rows[1:])] == matrix["task_correct"][-1]
    assert [sum(map(int, row[1:])) for row in taken.rows[1:]] == matrix["total"]
    classes = page.table("Accuracy of each class; Feature ID")
    right = [
        number(a) * int(n) / 100
        for a, n in zip(classes.column("Accuracy, %"), classes.column("Test samples"), strict=True)
    ]
    assert sum(right) == pytest.approx(sum(matrix["correct"][-1]), abs=0.1)
    pairs = page.table("The ")
    assert "pairs of classes confused most; Feature ID" in pairs.caption
    assert sum(map(int, pairs.column("Samples"))) <= sum(matrix["total"]) - sum(matrix["correct"][-1])


def test_every_table_and_chart_of_a_policy_names_it(digits: Path, tmp_path: Path) -> None:
    page = page_of(digits, to=tmp_path / "page.html")
    titles = [policy.title for policy in read_run(digits).policies]
    general = ("Summary", "Average accuracy", "Forgetting", "Seconds", "Bytes", "Every setting", "Cost", "Words")
    captions = [table.caption for table in page.tables] + page.attributes("div", "aria-label")
    assert len(captions) > 20
    for caption in captions:
        assert caption.startswith(general) or any(title in caption for title in titles), caption


def test_seeds_of_one_method_are_one_row_with_mean_and_deviation(seeds: Path, tmp_path: Path) -> None:
    page = page_of(seeds / "seed-0", seeds / "seed-1", seeds / "longer", to=tmp_path / "page.html")
    table = page.table("All methods and policies")
    summaries = [read_json(seeds / name / "summary.json")["policies"]["oracle"] for name in ("seed-0", "seed-1")]
    rows = {(row[0], row[1]): row for row in table.rows[1:]}
    assert len(rows) == len(table.rows) - 1 == 8
    row = rows["DualPrompt + Soft-TF (train.epochs=1)", "oracle (task given)"]
    values = [policy["acc"] for policy in summaries]
    assert row[2] == f"{mean(values):.1f} ± {stdev(values):.1f}" and row[-1] == "0 1"
    assert ("DualPrompt + Soft-TF (train.epochs=2)", "oracle (task given)") in rows
    matrices = [table.caption for table in page.tables if table.caption.startswith("Accuracy matrix")]
    for policy in ("Prompt ID, per-sample", "Gradient ID, per-sample", "oracle (task given)"):
        assert sum(policy in caption for caption in matrices) == 3, "each run shows each policy"
    settings = page.table("Settings that differ")
    assert {row[0] for row in settings.rows[1:]} == {"seed", "train.epochs"}
    assert "".join(page.texts).index("All methods") < "".join(page.texts).index("Summary:")


def test_text_is_never_markup(hostile: Path) -> None:
    file = write_page([hostile])
    text, page = file.read_text(), Page(file.read_text())
    assert HOSTILE not in text and "<b>cat" not in text and "\u202e" not in text
    assert HOSTILE in page.table("Accuracy of each class").column("Class"), "but it is shown"
    assert not page.attributes("img", "onerror") and [tag for tag, _ in page.tags].count("script") == 1
    assert any(uri.startswith("data:image/jpeg;base64,") for uri in page.attributes("img", "src"))


def test_the_page_loads_nothing_and_its_links_lead_to_the_runs_files(run: Path, tmp_path: Path) -> None:
    named = run.rename(tmp_path / "a b#c?%20é")
    file = write_page([named], tmp_path / "elsewhere" / "page.html")
    page = Page(file.read_text())
    text = re.sub(r"data:image/\w+;base64,[^\"]+", "", file.read_text())
    assert not re.search(r"//|https?:|@import|url\((?!#)", re.sub("\n// Sorting.*", "", text)), "an address"
    addresses = [a for a in page.attributes("a", "href") if not a.startswith("#")]
    assert len(addresses) > 8 and all((file.parent / unquote(a)).is_file() for a in addresses)
    assert all(a.startswith("./") for a in addresses) and str(tmp_path) not in file.read_text()
    sources = [
        value
        for tag in ("img", "image", "link", "script")
        for n in ("src", "href")
        for value in page.attributes(tag, n)
    ]
    assert sources and all(value.startswith("data:") for value in sources)
    assert "default-src 'none'" in page.attributes("meta", "content")[1]


def test_no_image_leaves_without_consent(hostile: Path, tmp_path: Path) -> None:
    page = page_of(hostile, images=False, to=tmp_path / "page.html")
    assert not page.attributes("img", "src")
    assert any("left out by --no-images" in text for text in page.texts)


def test_data_that_have_changed_are_not_shown(hostile: Path, tmp_path: Path) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(hostile, run)
    shutil.copytree(hostile.parent / "data", data)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(hostile.parent / "data"), str(data)))
    assert page_of(run).attributes("img", "src")
    next((data / "test").glob("*cat/*.png")).unlink()
    page = page_of(run)
    assert not page.attributes("img", "src") and any("have changed" in text for text in page.texts)
    shutil.rmtree(data)
    assert any("not on this machine" in text for text in page_of(run).texts)


def test_a_run_that_was_stopped_shows_what_it_has(run: Path) -> None:
    unfinish(run)
    for name in ("summary.json", "accuracy.json", "accuracy/after-002.json"):
        (run / name).unlink()
    for file in (run / "learner").glob("*-002.*"):
        file.unlink()
    page = page_of(run)
    text = "".join(page.texts)
    assert "not finished: evaluated after task 1" in text and "No confusions and no single answers" in text
    assert len(page.table("Accuracy matrix").rows) == 2


def test_a_run_of_an_earlier_version_says_which_command_adds_what_it_lacks(run: Path) -> None:
    shutil.rmtree(run / "predictions")
    (run / "data.json").unlink()
    text = "".join(page_of(run).texts)
    assert "softtf evaluate run --policy prompt-id --last" in text
    assert call("evaluate", run, "--policy", "prompt-id", "--last") == 0
    page = page_of(run)
    assert page.table("Samples of each task") and any("has no data.json" in text for text in page.texts)


def test_a_run_of_0_1_has_its_page(tmp_path: Path) -> None:
    run = shutil.copytree(HERE / "run", tmp_path / "run")
    page = page_of(Path(run))
    counts = read_json(run / "accuracy/after-001.json")
    title, values = next(iter(page.table("Summary").rows[1:]))[0], counts["prompt-id"]
    assert title == "Prompt ID, per-sample"
    assert number(page.table("Summary").rows[1][1]) == pytest.approx(
        100 * values["correct"][0] / values["total"][0], abs=0.01
    )


def test_a_run_without_the_oracle_has_no_ceiling(run: Path) -> None:
    for file in (run / "accuracy").glob("after-*.json"):
        assert "oracle" in file.read_text()
    again = run.parent / "again"
    config = (run / "config.yaml").read_text()
    assert "policies: []" in config
    (run.parent / "config.yaml").write_text(config.replace("policies: []", "policies: [prompt-id]"))
    assert call("run", "--config", run.parent / "config.yaml", "--output", again) == 0
    page = page_of(again)
    assert "Task given, %" not in page.table("Accuracy of each task after the last one").rows[0]


def test_damaged_answers_are_said_and_the_rest_is_shown(run: Path) -> None:
    file = run / "predictions/prompt-id.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    page = page_of(run)
    assert any("is not the file that was saved" in text for text in page.texts)
    check_summary(page.table("Summary"), read_json(run / "summary.json")["policies"])


def test_what_is_no_run_is_refused(tmp_path: Path, run: Path, capsys: Capture) -> None:
    assert "is not a run" in refused(capsys, "report", tmp_path / "none")
    assert "name the runs" in refused(capsys, "report")
    assert "is a folder" in refused(capsys, "report", run, "--output", tmp_path)
    for file in (run / "accuracy").iterdir():
        file.unlink()
    assert "nothing to show yet" in refused(capsys, "report", run)


def test_a_page_is_never_larger_than_its_bound(hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_page([hostile], tmp_path / "a.html").stat().st_size < 1_000_000
    monkeypatch.setattr(page_module, "LARGEST", 1000)
    page = page_of(hostile, to=tmp_path / "b.html")
    assert not page.attributes("img", "src") and any("larger than 5 MB" in text for text in page.texts)


SORTED = """
const table = [...document.querySelectorAll("#comparison table.sortable")].at(-1), at = [...table.rows[0].cells];
const column = at.findIndex((cell) => cell.textContent.startsWith("ACC"));
const values = () => [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[column].textContent));
at[column].firstChild.click(); const down = values(), state = at[column].ariaSort;
at[column].firstChild.click();
document.body.dataset.found = JSON.stringify([down, state, values(), at[column].ariaSort,
  document.documentElement.scrollWidth <= window.innerWidth]);
"""


def test_a_browser_opens_the_page_without_an_error_and_sorts_its_table(seeds: Path, tmp_path: Path) -> None:
    file = write_page([seeds], tmp_path / "page.html")
    assert "Comparison" in browsed(file, tmp_path)
    (found,) = re.findall(r'data-found="([^"]*)"', browsed(file, tmp_path, SORTED))
    down, falling, up, rising, fits = json.loads(found.replace("&quot;", '"'))
    assert down == sorted(down, reverse=True) and up == sorted(up) and len(down) == 8
    assert (falling, rising, fits) == ("descending", "ascending", True)


def test_the_command_says_where_the_page_is(digits: Path, tmp_path: Path, capsys: Capture) -> None:
    assert str(tmp_path / "p.html") in output(capsys, "report", digits, "--output", tmp_path / "p.html").replace(
        "\n", ""
    )
    assert (tmp_path / "p.html").exists()


def test_the_page_says_what_the_columns_of_its_tables_mean(seeds: Path, tmp_path: Path) -> None:
    page = page_of(seeds / "seed-0", seeds / "longer", to=tmp_path / "page.html")
    told = {row[0] for row in page.table("Words of this page").rows[1:]}
    headers = {header.removesuffix(" %") for header in page.table("All methods and policies").rows[0]}
    assert {metric.title.removesuffix(" %") for metric in METRICS.values() if metric.printed} <= told
    assert {"ACC", "Forget", "Task right", "Loss over", "Params/task"} <= headers & told
