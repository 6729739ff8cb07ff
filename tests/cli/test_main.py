"""Commands that only tell something answer without the heavy libraries; shells can complete all commands."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import softtf
from cli import call, output, refused
from softtf.cli.commands import COMMANDS
from softtf.cli.list import LISTS
from softtf.cli.options import OPTIONS, Predict
from softtf.cli.parse import parse
from softtf.devices.waiting import NAMES

Capture = pytest.CaptureFixture[str]
HEAVY = {
    *("torch", "torchvision", "timm", "transformers", "datasets", "accelerate", "pyarrow", "sklearn", "matplotlib"),
    *(
        "fastapi",
        "uvicorn",
        "prometheus_client",
        "onnx",
        "onnxruntime",
        "mlflow",
        "wandb",
        "trackio",
        "tensorboard",
        "ray",
    ),
}
LIGHTEST = [(), ("--help",), ("lsit",)]
LIGHT = [
    *LIGHTEST,
    *((name, "--help") for name in COMMANDS),
    ("list",),
    *(("list", name) for name in LISTS if name != "backbones"),
    ("predict", "--jsn"),
]


def test_what_only_tells_imports_none_of_the_heavy_libraries() -> None:
    script = (
        f"import sys, contextlib, io; sys.path[:0] = {sys.path!r}\n"
        "from softtf.cli.main import main\n"
        f"for args in {LIGHT!r}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):\n"
        "        main(list(args))\n"
        f"    unwanted = {HEAVY!r} | ({{'numpy', 'tyro', 'rich', 'yaml'}} if args in {LIGHTEST!r} else set())\n"
        "    print(args, sorted(unwanted & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{args} []" for args in LIGHT]


def test_the_lists_say_what_the_registries_do(capsys: Capture) -> None:
    from softtf.adaptations import AdaptationSpec
    from softtf.inference import INFERENCES
    from softtf.learners import LearnerSpec
    from softtf.statistics import STATISTIC_KINDS

    for name, family in (("learners", LearnerSpec), ("adaptations", AdaptationSpec)):
        kinds = {kind: (cls.__doc__ or "").strip().splitlines()[0] for kind, cls in family.kinds().items()}
        ours = {kind: text for kind, text in kinds.items() if family.kinds()[kind].__module__.startswith("softtf.")}
        assert LISTS[name]() == ours
    policies = LISTS["policies"]()
    for name, kind in INFERENCES.items():
        if kind.__module__.startswith("softtf."):
            read = STATISTIC_KINDS.get(name)
            needed = f"; needs {read.option()} when the run learns" if read else ""
            assert policies[name] == f"{kind.title}{', per-sample' if kind.pools else ''}{needed}"


def test_every_command_has_help_and_a_shell_completes_it(capsys: Capture) -> None:
    assert {name: (kind.__doc__ or "").partition("\n")[0] for name, kind in OPTIONS.items()} == COMMANDS
    overview = output(capsys, "--help")
    script = output(capsys, "--tyro-print-completion", "bash")
    for name in COMMANDS:
        assert name in overview and name in script
        assert f"softtf {name}" in output(capsys, name, "--help")
    assert "--input-column" in script
    assert call("predict", "x", "--help") == 0


def test_the_version_is_that_of_the_package(capsys: Capture) -> None:
    assert output(capsys, "--version").strip() == f"softtf {version('softtf')}" == f"softtf {softtf.__version__}"


def test_options_before_a_command_are_refused(capsys: Capture) -> None:
    assert "name a command" in refused(capsys, "--text", "quickstart")
    assert "bash, zsh" in refused(capsys, "--tyro-print-completion", "cmd")


def test_words_are_named_as_in_other_commands(capsys: Capture) -> None:
    said = refused(capsys, "run", "own-images", "--source", "nowhere/at/all", "--output", "new")
    assert said == refused(capsys, "run", "own-images", "--stream.source", "nowhere/at/all", "--output", "new")
    assert "'promt-id'" in refused(capsys, "run", "quickstart", "--policy", "promt-id")
    assert "'vit_tiny_patch8_65'" in refused(capsys, "run", "quickstart", "--backbone", "vit_tiny_patch8_65")
    assert "--stream.source" in refused(capsys, "run", "own-images")


def test_texts_behind_dashes_are_inputs_wherever_options_stand() -> None:
    for words in (("DIR", "--json", "--", "-5 degrees"), ("DIR", "one", "--json", "--", "-5 degrees", "--help")):
        found = parse(Predict, list(words), "softtf predict")
        assert found.json and found.folder == Path("DIR")
        assert found.inputs == (*words[1 : words.index("--json")], *words[words.index("--") + 1 :])
    assert parse(Predict, ["DIR", "-5 degrees", "-"], "softtf predict").inputs == ("-5 degrees", "-")


@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "5"}], ids=str)
def test_openmp_threads_hardly_spin_while_they_wait_unless_the_user_says_otherwise(
    own: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """It is set before torch is loaded, which reads it once; `LIGHT` shows that a command starts without torch."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    refused(capsys, "lsit")
    found = {name: os.environ[name] for name in NAMES if name in os.environ}
    assert found == (own or {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "3000"})
