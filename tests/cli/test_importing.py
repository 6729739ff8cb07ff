"""`--import FILE`: a user's file is run once, by the command line alone, and errors in it are one line."""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from softtf.cli.commands import COMMANDS
from softtf.cli.importing import import_file
from softtf.cli.main import main
from softtf.errors import UserError
from support.registries import forgetting_names


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Modules of the test's files, paths and kinds are afterwards as before."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    with forgetting_names():
        yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


METHOD = """
from dataclasses import dataclass
from softtf.learners import LearnerSpec

@dataclass(frozen=True)
class Mine(LearnerSpec, kind="mine"):
    title = "My method"
    size: int = SIZE

    def build(self, backbone, seed):
        raise NotImplementedError
"""


def test_every_command_imports_the_files_it_is_given_before_all_else(tmp_path: Path) -> None:
    for name in ("one_file", "another"):
        (tmp_path / f"{name}.py").write_text("")
    options = ["--import", f"{tmp_path}/one_file.py", "nowhere/at/all", f"--import={tmp_path}/another.py"]
    for name in COMMANDS:
        assert main([name, *options, "--matr"]) == 2
        assert {"one_file", "another"} <= sys.modules.keys()
        del sys.modules["one_file"], sys.modules["another"]


def test_behind_dashes_it_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "not_asked_for.py").write_text("")
    assert main(["predict", "nowhere/at/all", "--", "--import", f"{tmp_path}/not_asked_for.py"]) == 2
    assert "not_asked_for" not in sys.modules


def test_a_file_runs_once_and_finds_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("calls = []")
    (tmp_path / "importing_it.py").write_text("import neighbour_of_mine\nneighbour_of_mine.calls.append(1)")
    for _ in range(2):
        import_file(tmp_path / "importing_it.py")
    assert sys.modules["neighbour_of_mine"].calls == [1]


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "no such Python file"), ("x = 1\nx.y", "line 2: AttributeError"), ("x = 1\ny = (", "line 2: SyntaxError")],
    ids=["missing", "an error", "no Python"],
)
def test_a_file_that_cannot_be_imported_is_one_line(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "wrong.py").write_text(text)
    with pytest.raises(UserError, match=said):
        import_file(tmp_path / "wrong.py")
    assert "wrong" not in sys.modules


def test_an_own_kind_is_a_method_and_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my_method_here.py").write_text(METHOD.replace("SIZE", "3"))
    assert main(["list", "methods", "--import", str(tmp_path / "my_method_here.py")]) == 0
    assert "My method" in capsys.readouterr().out
    (tmp_path / "run.yaml").write_text("learner: {kind: mine, sise: 2}")
    assert main(["run", "--config", str(tmp_path / "run.yaml")]) == 2
    assert "unknown setting 'sise'; did you mean 'size'" in capsys.readouterr().err


def test_a_method_without_defaults_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my_method_there.py").write_text(METHOD.replace(" = SIZE", ""))
    assert main(["run", "quickstart", "--method", "mine", "--import", str(tmp_path / "my_method_there.py")]) == 2
    assert "give each setting of its class a default" in capsys.readouterr().err


def test_without_the_file_the_missing_import_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text("learner: {kind: mine}")
    for args in (["--config", str(tmp_path / "run.yaml")], ["quickstart", "--method", "mine"]):
        assert main(["run", *args]) == 2
        said = capsys.readouterr().err
        assert "'mine'" in said and "--import FILE" in said and said.count("\n") == 1


def test_an_import_alone_is_no_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nothing_in_it.py").write_text("")
    assert main(["--import", str(tmp_path / "nothing_in_it.py")]) == 2
    assert "name a command" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ("--learner.gather", "my-id"),
        ("--policy", "my-id"),
        ("--backbone", "my-backbone"),
        ("--source", "my-rows"),
        ("--method", "my-method"),
    ],
)
def test_whatever_a_file_could_define_names_the_remedy(options: tuple[str, ...], tmp_path: Path) -> None:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main(["run", "quickstart", *options, "--output", str(tmp_path / "run")]) == 2
    assert f"'{options[1]}'" in said.getvalue() and "--import FILE" in said.getvalue()


def test_statistics_with_a_setting_of_their_own_are_asked_for_by_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "quickstart", "--learner.gather", "mcg"]) == 2
    assert "gather: mcg has a setting of its own; give mcg=10" in capsys.readouterr().err
