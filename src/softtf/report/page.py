"""A page of runs: one HTML file that opens anywhere and loads nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from softtf.config.arguments import checked
from softtf.devices.device import commit
from softtf.errors import UserError, visible
from softtf.files.tensors import write_atomic
from softtf.report.blocks import Block, Note, Section
from softtf.report.comparison import groups_of
from softtf.report.comparison_page import comparison_section, cost_chart
from softtf.report.found import RunResult, read_run, runs_in
from softtf.report.inputs import test_inputs
from softtf.report.run_page import run_section, titles_of
from softtf.report.tables_page import table_sections
from softtf.report.words import words_section

LARGEST = 5_000_000  # bytes of a page
MOST_RUNS = 6  # with a part of their own besides the comparison
NAME = "report.html"


@checked
def write_page(paths: Sequence[str | Path], output: str | Path | None = None, images: bool = True) -> Path:
    """Write the page of some runs.

    Args:
        paths: runs, or folders that hold runs, such as a quickstart's or those of `softtf table`.
        output: the file; None is report.html in the named folder, or in the working directory if several are named.
        images: whether test samples may be shown.

    Returns:
        the file.

    Raises:
        UserError: there is no run, a file of one is damaged, or the page cannot be written.
    """
    folders = [Path(path) for path in paths]
    file = Path(output or (folders[0] / NAME if len(folders) == 1 else NAME))
    if file.is_dir():
        raise UserError(f"--output {file} is a folder; name the file, such as {file / NAME}")
    runs = [read_run(path) for path in runs_in(folders)]
    tables = [section for path in folders for section in table_sections(path)]
    html = _rendered(runs, tables, file, images)
    if images and len(html.encode()) > LARGEST:
        html = _rendered(runs, tables, file, False, "they would make the page larger than 5 MB")
    write_atomic(file, html)
    return file


def _rendered(runs: Sequence[RunResult], tables: list[Section], file: Path, images: bool, why: str = "") -> str:
    sections = list(tables)
    if len(runs) > 1:
        sections.append(comparison_section(runs))
    for number, run in enumerate(runs[:MOST_RUNS], 1):
        inputs = test_inputs(run, images, why)
        sections.append(run_section(run, number, inputs, file, len(runs) == 1))
    if len(runs) == 1:
        sections.append(Section("cost", "Cost against accuracy", [cost_chart(groups_of(runs))]))
    if others := runs[MOST_RUNS:]:
        said = f"{len(others)} more runs are in the comparison alone; `softtf report RUN` shows each."
        sections.append(Section("others", "Other runs", [Note(said)]))
    return render(visible(titles_of(runs)), [*sections, words_section()])


def render(title: str, sections: Sequence[Section]) -> str:
    """Return the HTML of a page; all texts are escaped except the charts."""
    here = files("softtf.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "page.html.jinja").read_text(encoding="utf-8"))
    script = (here / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template.render(
        title=title,
        sections=sections,
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=script,
        digest=digest,
        commit=commit(),
    )


__all__ = ["Block", "render", "write_page"]
