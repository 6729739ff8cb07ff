"""The page of a table's runs: what was asked is kept, and the paper's figures stand beside ours."""

import json
from pathlib import Path

import pytest

from cli import call, read_json, refused
from softtf.paper import figure
from softtf.paper.asked import read_asked
from softtf.report.page import write_page
from support.pages import Page
from support.tables import RUNS, TABLE

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("table")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert call(*TABLE) == 0
    return place / RUNS


@pytest.mark.slow
def test_what_was_asked_gives_the_same_runs(folder: Path) -> None:
    _, cells, wish = read_asked(folder / "table-8.json")
    assert [cell.row.title for cell in cells] and wish.folder == folder
    assert all(job.finished for cell in cells for job in cell.jobs)


@pytest.mark.slow
def test_papers_figures_stand_beside_ours_under_both_policies(folder: Path) -> None:
    page = Page(write_page([folder]).read_text())
    table = page.table("Table 8")
    _, cells, _ = read_asked(folder / "table-8.json")
    rows = [row for row in table.rows[1:] if row[2] == "ours"]
    papers = [row for row in table.rows[1:] if row[2] == "paper"]
    assert "per-sample (headline): ACC / Forget" in table.rows[0] and any("paper's policy" in h for h in table.rows[0])
    for cell, row, paper in zip(cells, rows, papers, strict=True):
        policies = read_json(cell.jobs[0].path / "summary.json")["policies"]
        assert cell.row.per_sample is not None
        found = [
            f"{policies[c]['acc']:.2f} / {policies[c]['forget']:.2f}" for c in (cell.row.per_sample, cell.row.policy)
        ]
        assert row[4:6] == found and row[6] == f"{policies['oracle']['acc']:.2f}"
        printed = figure("8", cell.stream, cell.row.name, cell.row.task_id, cell.row.backbone, cell.row.setting)
        assert printed is not None and paper[5] == f"{printed.acc:.2f} / {printed.forget:.2f}"
    assert "".join(page.texts).index("Table 8") < "".join(page.texts).index("All methods and policies")


CHANGES = {"table": "80", "rows": [99], "streams": ["cifar"], "scale": "huge", "seeds": "0", "settings": {"x": 1}}


@pytest.mark.parametrize("name", CHANGES)
def test_another_form_is_refused(name: str, folder: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "run").symlink_to(next(folder.glob("*/seed-0")))
    content = read_json(folder / "table-8.json") | {name: CHANGES[name]}
    (tmp_path / "table-8.json").write_text(json.dumps(content))
    refused(capsys, "report", tmp_path)
