"""`softtf table`: the paper's tables from the command line."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from softtf.cli.options import Table
from softtf.cli.results import tell_page
from softtf.cli.settings import named_settings
from softtf.cli.workers import fetch_finished, folder_of, workers_of
from softtf.config.bounds import whole_number
from softtf.config.dotted import flat
from softtf.config.tree import to_dict
from softtf.errors import UserError, unknown
from softtf.paper import TABLES, TableRow, lines, notes, report, table_named
from softtf.paper import Table as PaperTable
from softtf.paper.asked import save_asked
from softtf.paper.runs import Cell, Wish, jobs_of, plan
from softtf.recipes.presets import RECIPES
from softtf.runs.config import RunConfig
from softtf.saying import say
from softtf.screen import Screen
from softtf.streams import STREAMS as DATA_SETS
from softtf.streams import local_path
from softtf.sweeps.away import look
from softtf.sweeps.check import check_jobs
from softtf.sweeps.file import save_plan
from softtf.sweeps.job import amount, data_of, left
from softtf.sweeps.queue import carry_out

WIDTH = 150  # of a table that is not shown on a terminal


def run(options: Table) -> int:
    """Run a table's rows that are not finished and print it; without a number, list the tables."""
    if not options.given():
        _list_tables()
        return 0
    if options.number is None:
        raise UserError(f"name a table: {', '.join(TABLES)}")
    chosen = table_named(options.number)
    streams = _streams(options.streams) or chosen.streams
    rows = _rows(options.rows, chosen) or chosen.rows
    wish = _wish(options, streams)
    cells = plan(rows, streams, wish)
    # A table for a pipe stands alone on stdout; what happens meanwhile goes to stderr.
    out = contextlib.nullcontext() if options.format == "terminal" else contextlib.redirect_stdout(sys.stderr)
    with out:
        failed = _run(chosen, cells, wish, options)
    if failed is None:
        return 0
    _print(chosen, streams, cells, wish, failed, options.format)
    if options.format == "terminal":
        tell_page([wish.folder], Screen())
    return 2 if failed else 0


def _run(table: PaperTable, cells: Sequence[Cell], wish: Wish, options: Table) -> dict[Path, str] | None:
    """Carry out the runs and return those that failed; None if they were only listed."""
    for cell in cells:
        if cell.left_out:
            say(f"left out: {cell.row.title} on {cell.stream}: {cell.left_out}")
    if not (jobs := jobs_of(cells)):
        raise UserError(f"no row of table {table.name} that was asked for can be run: {cells[0].left_out}")
    if wish.url is not None:
        look(wish.url, wish.folder)
    console = Screen()
    engage = workers_of(options, console)
    if options.dry_run:
        _list_runs(table, cells, wish)
        return None
    check_jobs(jobs, here=options.ray is None)

    def save() -> None:
        save_asked(table, cells, wish)
        save_plan(jobs, wish.folder, wish.url)

    failed = carry_out(jobs, engage, console, save)
    fetch_finished(jobs)
    return failed


def _list_tables() -> None:
    for name, make in TABLES.items():
        found = make()
        say(f"{name:>7}  {found.caption} ({len(found.rows)} rows; {', '.join(found.streams)})")
    say("softtf table 8 --scale mini --streams cifar100-10 --source FOLDER; softtf table 8 --help")


def _list_runs(table: PaperTable, cells: Sequence[Cell], wish: Wish) -> None:
    """Print every run with its rows and the settings in which runs differ."""
    jobs = jobs_of(cells)
    common = set(_flat(jobs[0].config)).intersection(*(_flat(job.config) for job in jobs))
    for job in jobs:
        served = [cell for cell in cells if job in cell.jobs]
        numbers = [f"{table.rows.index(c.row) + 1} {c.row.title} ({c.row.task_id or '-'})" for c in served]
        say(f"{job.path}: {job.state}; {amount([job])}")
        say(f"    {served[0].stream}, seed {job.config.seed}, rows: {'; '.join(numbers)}")
        say(f"    {', '.join(s for s in _flat(job.config) if s not in common)}")
    say(f"all runs: {', '.join(s for s in _flat(jobs[0].config) if s in common)}")
    unfinished = [job for job in jobs if not job.finished]
    say(f"{len(jobs)} runs for {len(cells)} rows: {left(jobs)}; {amount(unfinished)}")


def _flat(config: RunConfig) -> list[str]:
    """Return settings as `a.b=value` texts."""
    return [f"{name}={value}" for name, value in flat(to_dict(config)).items()]


def _print(
    table: PaperTable, streams: Sequence[str], cells: Sequence[Cell], wish: Wish, failed: Mapping[Path, str], form: str
) -> None:
    parts = {s: lines.lines_of(table.name, [cell for cell in cells if cell.stream == s]) for s in streams}
    if table.mean and len(streams) > 1:
        parts[f"mean over {' and '.join(streams)}"] = lines.mean_lines(list(parts.values()))
    said = notes.notes(table, cells, wish, failed)
    if form == "csv":
        say(report.to_csv(table.name, parts, cells).removesuffix("\n"))
        return
    if form == "terminal":
        console = Screen().wide(WIDTH)
        for stream, found in parts.items():
            console.print(report.render(found, notes.title(table, stream, cells)))
        for note in said:
            console.print(note, soft_wrap=True)
        return
    write = report.to_markdown if form == "markdown" else report.to_latex
    for stream, found in parts.items():
        say(write(found, notes.title(table, stream, cells)))
    mark = "- " if form == "markdown" else "% "
    say("\n".join(mark + note for note in said))


def _streams(names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if name not in RECIPES:
            raise unknown("stream", name, [s for s in RECIPES if s.startswith(name)] or RECIPES)
    return tuple(dict.fromkeys(names))


def _rows(wanted: Sequence[str], table: PaperTable) -> tuple[TableRow, ...]:
    """Return the rows that match a word, in the table's order."""
    names = [f"{row.title}, {row.task_id}" for row in table.rows]
    found: set[int] = set()
    for word in wanted:
        if not word.strip():
            raise UserError("--rows: an empty word names no row; give numbers or parts of names")
        if word.isdecimal():
            number = whole_number(word) or 0
            if not 1 <= number <= len(table.rows):
                raise UserError(f"table {table.name} has no row {word}; its rows are 1 to {len(table.rows)}")
            found.add(number - 1)
            continue
        hits = [i for i, name in enumerate(names) if word.lower() in name.lower()]
        if not hits:
            raise unknown(f"row of table {table.name}", word, names)
        found.update(hits)
    return tuple(table.rows[i] for i in sorted(found))


def _wish(options: Table, streams: Sequence[str]) -> Wish:
    if not options.seed:
        raise UserError("--seed needs at least one number")
    seeds = tuple(dict.fromkeys(options.seed))
    sources, settings = _sources(options.source, streams), _settings(options.set)
    return Wish(options.scale, sources, settings, seeds, *folder_of(options.output))


def _sources(texts: Sequence[str], streams: Sequence[str]) -> dict[str, str]:
    """Return where the data come from, by the name of the data set; folders by their full path."""
    needed = list(dict.fromkeys(map(data_of, streams)))
    sources: dict[str, str] = {}
    for text in texts:
        name, found, source = text.partition("=")
        if not found or local_path(text).is_dir():
            source = text
            if len(needed) > 1 or len(texts) > 1:
                raise UserError(f"--source {text!r}: say of which data set, such as {needed[0]}={text}")
            name = needed[0]
        elif name not in needed:
            raise unknown("data set of --source", name, needed)
        if not source:
            raise UserError(f"--source {text!r}: name a folder after the =")
        folder = local_path(source)
        if not folder.exists() and source not in DATA_SETS and "/" in source:
            raise UserError(f"--source {text!r}: there is no folder {source!r}")
        sources[name] = str(folder.resolve()) if folder.exists() else source
    return sources


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    """Return the settings of --set, of which a table's rows and other options have some already."""
    settings = named_settings(texts)
    for name in settings.keys() & {"seed", "stream.source", "evaluate.policies", "recipe", "method"}:
        remedy = {"seed": "; give --seed", "stream.source": "; give --source"}.get(name, "; the rows say it")
        raise UserError(f"--set cannot change {name}{remedy}")
    return settings
