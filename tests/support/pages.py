"""HTML pages as a test reads them: their tables, their links, and what a browser says of them."""

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)


@dataclass
class Table:
    """A table's caption and texts."""

    caption: str = ""
    rows: list[list[str]] = field(default_factory=list)

    def column(self, header: str) -> list[str]:
        return [row[self.rows[0].index(header)] for row in self.rows[1:]]


class Page(HTMLParser):
    """The tags and the tables of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[Table] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._into: str = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append(Table())
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("td", "th"):
            self.tables[-1].rows[-1].append("")
        if tag in ("td", "th", "caption"):
            self._into = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._into:
            self._into = ""

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._into == "caption":
            self.tables[-1].caption += data
        elif self._into:
            self.tables[-1].rows[-1][-1] += data

    def table(self, caption: str) -> Table:
        """The first table whose caption begins like this."""
        return next(table for table in self.tables if table.caption.startswith(caption))

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attrs[name] or "" for found, attrs in self.tags if found == tag and name in attrs]


def browsed(page: Path, folder: Path, script: str = "") -> str:
    """What the DOM of a page is once a headless Chromium has run it; a console error fails the test.

    `script` is run at the page's end; the page's own policy for scripts is lifted for that.
    """
    if not CHROMIUM or started("about:blank", folder).returncode:
        pytest.skip("no Chromium that starts is here to open the page: apt-get install chromium")
    text = page.read_text()
    if script:
        start, end = text.index("<meta http-equiv"), text.index("<title>")
        text = (text[:start] + text[end:]).replace("</body>", f"<script>{script}</script></body>")
        page = folder / "scripted.html"
        page.write_text(text)
    done = started(page.as_uri(), folder)
    told = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert not told, json.dumps(told, indent=1)
    assert done.returncode == 0, done.stderr
    return done.stdout


def started(address: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """What Chromium says of an address, its DOM on stdout."""
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    logging = ("--enable-logging=stderr", "--v=0", "--virtual-time-budget=3000", "--dump-dom")
    command = [CHROMIUM, *options, *logging, f"--user-data-dir={folder / 'profile'}", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
