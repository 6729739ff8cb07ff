"""Names that somebody else gave are shown as they are written: no terminal acts on them, and no [markup] is read."""

import io
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console
from rich.table import Table

from cli import LAYERS, MASKS, SMALL, TINY, call, image_folder
from softtf.errors import UserError, visible
from softtf.evaluation.progress import ScoringProgress
from softtf.saying import say, warn
from softtf.screen import Screen, plain
from support.slow import each

Capture = pytest.CaptureFixture[str]
NASTY = "a\x1b]0;title\x07\x1b[31mred[/b][red]x\u202e\x9b2J"
FILE = NASTY.replace("/", "")
SHOWN = r"a\x1b]0;title\x07\x1b[31mred[/b][red]x\u202e\x9b2J"
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
IMAGES = (
    "run",
    "own-images",
    *MASKS,
    "--backbone.name",
    "random:test_vit",
    "--backbone.image-size",
    "32",
    *LAYERS,
    *SMALL,
)


def shown(capsys: Capture) -> str:
    """What was printed on both streams; nothing in it may move a cursor."""
    text = "".join(capsys.readouterr())
    assert not UNSEEN.search(text.replace("\r\n", "\n")), UNSEEN.findall(text)
    return text


@pytest.mark.slow
@each("name", {"markup": "o[/b]", "nasty": f"p{NASTY}"}, ("nasty",))
def test_a_finished_run_is_shown_whatever_its_folder_is_called(name: str, capsys: Capture) -> None:
    assert call(*TINY, "--output", name) == 0
    text = shown(capsys)
    assert f"run folder: {visible(name)}" in text
    assert call("evaluate", name, "--matrix") == 0
    assert visible(name) in "".join(shown(capsys).split("\n"))
    assert call("resume", name) == 0 and visible(name) in shown(capsys)
    assert call(*TINY, "--output", name) == 2 and visible(name) in shown(capsys)


@pytest.mark.slow
def test_labels_files_and_tasks_are_shown_as_they_are_written(capsys: Capture) -> None:
    image_folder(Path("data"), ["[red]x", FILE, "cat\tdog\nx", "d\u2028e"])
    (Path("data/test") / FILE / f"{FILE}.png").write_bytes(b"no image")
    assert call(*IMAGES, "--stream.source", "data", "--train.batch-size", "4", "--output", "bad") == 2
    assert visible(FILE) in shown(capsys), "the file that cannot be read"
    (Path("data/test") / FILE / f"{FILE}.png").unlink()
    assert call(*IMAGES, "--stream.source", "data", "--train.batch-size", "4", "--output", "o") == 0
    shown(capsys)
    Image.new("RGB", (9, 9)).save(f"{FILE}.png")
    assert call("predict", "o", "data/test", f"{FILE}.png") == 0
    lines = shown(capsys).splitlines()
    answers = [line.split("\t") for line in lines if line.startswith(("data", "a\\x1b"))]
    assert len(answers) == 13 and all(len(answer) == 4 for answer in answers), "one line each, of four parts"
    labels = {visible(label) for label in ("[red]x", FILE, "cat\tdog\nx", "d\u2028e")}
    assert {answer[1] for answer in answers} <= labels and answers[-1][0] == f"{visible(FILE)}.png"
    assert call("predict", "o", "data/test", f"{FILE}.png", "--json") == 0
    rows = [json.loads(line) for line in shown(capsys).splitlines() if line.startswith("{")]
    assert len(rows) == 13 and rows[-1]["file"] == f"{FILE}.png", "JSON gives the name itself"


@pytest.mark.parametrize(
    "args",
    [
        (NASTY,),
        ("run", NASTY),
        ("run", "--config", NASTY),
        ("run", "quickstart", f"--{NASTY}", "x"),
        ("run", "quickstart", "--backbone.name", NASTY),
        ("run", "quickstart", "--stream.source", NASTY),
        ("predict", NASTY, NASTY),
        ("evaluate", NASTY),
        ("resume", NASTY),
        ("list", NASTY),
        ("table", NASTY),
        ("table", "8", "--set", NASTY),
    ],
)
def test_errors_show_what_they_name(args: tuple[str, ...], capsys: Capture) -> None:
    assert call(*args) == 2
    assert r"\x1b" in shown(capsys)


def test_a_strangers_files_say_nothing_to_the_terminal(run: Path, capsys: Capture) -> None:
    files = {
        "learner.json": {"format": 1, NASTY: NASTY},
        "task-001.json": {"name": NASTY, "classes": [NASTY], "files": {NASTY: NASTY}},
    }
    for name, content in files.items():
        folder = Path(name)
        folder.mkdir()
        for file in (run / "learner").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / name).write_text(json.dumps(content))
        assert call("predict", folder, "x.png") == 2
        assert shown(capsys).startswith("softtf: error: ")
    Path("config").mkdir()
    Path("config/config.yaml").write_text(f"{json.dumps(NASTY)}: 1")
    assert call("evaluate", "config") == 2 and SHOWN in shown(capsys)


def test_help_for_a_strangers_settings_shows_them(run: Path, capsys: Capture) -> None:
    text = (run / "config.yaml").read_text()
    Path("mine.yaml").write_text(text.replace("source: digits", f"source: {json.dumps(NASTY)}"))
    assert call("run", "--config", "mine.yaml", "--help") == 0
    assert r"\x1b]0;title\x07" in shown(capsys)


# --- The helpers ------------------------------------------------------------------------------------------------


@given(st.text())
def test_what_is_visible_has_no_control_in_it_and_stays_so(text: str) -> None:
    once = visible(text)
    assert not UNSEEN.search(once) and "\n" not in once and "\t" not in once and visible(once) == once
    assert visible(once.replace("\\", "")) == once.replace("\\", "")
    once.encode()


@pytest.mark.parametrize("text", ["naïve", "日本語", "نمی‌خواهم", "👩‍👩‍👧", "a b", "[red]", "\\x1b"])
def test_what_can_be_seen_is_left_alone(text: str) -> None:
    assert visible(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_screen_shows_the_text_and_only_the_text(text: str) -> None:
    out = io.StringIO()
    screen = Screen(file=out, width=4000)
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text, plain(text))
    for what in (text, table, plain(text)):
        screen.print(what)
    assert not UNSEEN.search(out.getvalue())
    line, expected = out.getvalue().split("\n")[0], visible(text, "\n\t").split("\n")[0]
    assert line.split() == expected.split(), "but for the width of tabs"


def test_a_terminals_own_styles_still_reach_it() -> None:
    out = io.StringIO()
    screen = Screen(file=out, force_terminal=True, width=400)
    screen.print("a\x1b[2J", style="bold")
    assert out.getvalue() == "\x1b[1ma\\x1b[2J\x1b[0m\n"
    with ScoringProgress(f"[/b]{NASTY}", console=screen) as bar:
        bar.told(f"[red]{NASTY}", 1, 2)
        bar.bar.refresh()
    assert SHOWN in out.getvalue().replace("\n", "") and "\x1b]0" not in out.getvalue() and "\x07" not in out.getvalue()


def test_lines_and_warnings_and_errors(capsys: Capture) -> None:
    say(f"two\nlines {NASTY}")
    assert shown(capsys) == f"two\nlines {SHOWN}\n"
    say(NASTY, error=True)
    assert capsys.readouterr().err == f"{SHOWN}\n"
    with pytest.warns(UserWarning) as caught:
        warn(f"{NASTY}\n", stacklevel=1)
    assert str(caught[0].message) == SHOWN + r"\n" and caught[0].filename == __file__
    assert str(UserError(f"{NASTY}\nx")) == f"{SHOWN}\nx"


PRINTS = re.compile(r"(?<![\w.])(?:print\(|Console\(|Text\(|warnings\.warn\b|sys\.std(?:out|err)\.write)")


def test_nothing_prints_past_the_helpers() -> None:
    """Text leaves by `saying` and `screen` alone; a new print or Console elsewhere would pass them by."""
    root = Path(sys.modules["softtf"].__file__ or "").parent
    for file in root.rglob("*.py"):
        text = file.read_text()
        # answer.py goes into an export, and works without softtf
        if file.name not in ("saying.py", "screen.py", "answer.py"):
            found = PRINTS.findall(text)
            assert not found, f"{file.relative_to(root)}: {found}"
    assert issubclass(Screen, Console)
