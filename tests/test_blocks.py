"""Every code block of README and docs: Python runs, page by page; each `softtf` line is read by the real parser with
every option, and run where it takes a moment. A block that cannot run says why: <!-- not run: REASON -->."""

import glob
import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import softtf
from cli import call
from softtf.cli.command_line import command_of
from softtf.config.tree import from_dict
from softtf.config.yaml import load_yaml
from softtf.learners import BlockRidge
from softtf.recipes.recipes import run_of_file
from softtf.sweeps.file import Sweep
from support.blocks import JUNE, MONTHS, PAGES, TUTORIALS, Block, blocks, build_world, months, pictures
from support.registries import forgetting_modules, forgetting_names

BLOCKS = [block for page in PAGES for block in blocks(page)]
RUNNABLE = [block for block in BLOCKS if block.reason is None]
SHELL, PYTHON = ("bash", "sh"), "python"
HUB = ("learner push", "learner pull")
LONG = (
    *("run", "quickstart", "learn", "serve", "sweep", "figure convergence", "compare --source", "learner export"),
    *HUB,
)
"""Commands that are only parsed: they take more than a moment, go on until they are stopped, or need the Hub."""
CHANGED = ("birds", "colleagues-birds", "DIR")
"""What blocks write into."""
TELLING = "predict.md"
"""The page whose `birds` are those of a learner that tells unknown inputs."""
FEW = 2
"""The examples of each class that `load_source` returns here."""


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def done() -> set[str]:
    """The commands that were run: once is enough."""
    return set()


@pytest.fixture
def _here(page: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder with links to the world: what a block writes is its own."""
    for path in world.iterdir():
        if path.name in CHANGED:
            telling = page.name == TELLING and path.name == "birds"
            shutil.copytree(world / "telling-birds" if telling else path, tmp_path / path.name)
        else:
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("webbrowser.open", lambda *_: True)
    with forgetting_names(), forgetting_modules():
        yield


def pages_with(*languages: str) -> list[Path]:
    """The pages with blocks of a language that can be run."""
    return [page for page in PAGES if any(b.language in languages for b in RUNNABLE if b.page == page)]


def given(page: str) -> dict[str, object]:
    """The names that a page's first block of Python takes for granted."""
    names: dict[str, object] = {"ContinualClassifier": softtf.ContinualClassifier}
    if page == "ship.md":
        names["model"] = months(MONTHS)
    if page == "learners-life.md":
        names |= {"model": months(MONTHS), "colleagues": months(JUNE), "other": months(JUNE)}
        names["months"] = [(pictures(seed, 4), ["owl", "rook"] * 2) for seed in (8, 9)]
    if page == TELLING:
        names |= {"model": softtf.ContinualClassifier.from_pretrained("birds"), "images": pictures(1, 4)}
        names |= {"known": pictures(2, 4), "unknown": pictures(3, 4)}
    if page == "python.md":
        labels = ["owl", "rook"] * 5
        names |= {name: list(pictures(1, 10)) for name in ("paths", "january", "february", "march")}
        names |= {"labels": labels, "more_labels": labels}
    if page == "serve.md":
        names |= {"model": months(MONTHS), "photos_of_march": (pictures(7, 4), ["owl", "rook"] * 2)}
    if page == "learner-folder.md":
        shutil.rmtree("birds")  # the page saves it
        names |= {"model": months(MONTHS), "more": (pictures(7, 4), ["owl", "rook"] * 2)}
    return names


@pytest.mark.slow
@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("page", pages_with(PYTHON), ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = softtf.load_source
    monkeypatch.setattr("softtf.classifier.SoftTF", lambda: BlockRidge(60))  # its default solves matrices of 5,000
    monkeypatch.setattr("softtf.load_source", lambda name: tuple(part.per_class(FEW, 0) for part in whole(name)))
    names = {"__name__": page.stem, **given(page.name)}
    for block in RUNNABLE:
        if block.page == page and block.language == PYTHON:
            exec(compile("\n" * block.line + block.text, str(page), "exec"), names)


@pytest.mark.slow
@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("page", pages_with(*SHELL), ids=lambda page: page.name)
def test_the_commands_of_a_page_are_right(page: Path, done: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [(b, line) for b in RUNNABLE if b.page == page and b.language in SHELL for line in b.commands()]
    for block, (program, *words) in lines:
        assert program == "softtf", f"{block}: {program} is not ours; say why it is not run"
        words = [one for word in words for one in (sorted(glob.glob(word)) if "*" in word else [word])]
        command_of(words)
        long = words[0] in LONG or " ".join(words[:2]) in LONG
        if not long and str(words) not in done:
            done.add(str(words))
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a line of stdin\n")))
                if words[0] == "table" and "--dry-run" not in words and len(words) > 1:
                    words.append("--dry-run")
                different = int(words[:2] == ["learner", "diff"])  # the command's code, as that of diff
                assert call(*words) == different, f"{block}: {words}"


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda page: page.name)
def test_the_commands_of_a_tutorial_are_right(tutorial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.csv").write_text("text,label,month\na,b,May\n")
    Path("my_method.py").write_text(tutorial.read_text(encoding="utf-8").split("# %%")[2])
    for command in (words for block in blocks(tutorial) for words in block.commands()):
        assert command[0] == "softtf", command
        with forgetting_names(), forgetting_modules():
            command_of(command[1:])
        if command[1] == "table":
            with forgetting_names(), forgetting_modules():
                assert call(*command[1:], "--dry-run") == 0, command


@pytest.mark.parametrize("block", [b for b in RUNNABLE if b.language not in (*SHELL, PYTHON)], ids=str)
def test_the_settings_of_a_block_are_right(block: Block) -> None:
    if block.language == "json":
        assert json.loads(block.text)["answers"]  # of the service
        return
    if block.page.name == "sweep.md":
        assert len(from_dict(Sweep, load_yaml(block.text, str(block)), str(block)).jobs(Path("runs"))) == 24
        return
    assert block.language == "yaml", f"{block}: no test knows {block.language!r}; say why it is not run"
    with forgetting_names(), forgetting_modules():
        command_of(["list", "--import", str(block.page.parent / "my_adaptation.py")])
        assert run_of_file(load_yaml(block.text, str(block)), str(block)).learner.adapt.kind == "scaling"


def test_a_block_that_is_not_run_says_why() -> None:
    assert len(BLOCKS) == sum(page.read_text(encoding="utf-8").count("\n```") for page in PAGES) // 2
    assert all(len(block.reason.split()) > 3 for block in BLOCKS if block.reason is not None)
