"""Importing softtf spawns no process, writes nothing and asks nobody: what it does is seen by an audit hook."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HOOK = """
import json, os, sys
sys.dont_write_bytecode = True
seen = []
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
EVENTS = (
    "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn",
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime",
    "shutil.rmtree", "tempfile.mkstemp", "tempfile.mkdtemp", "sqlite3.connect",
    "socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request",
)

def hook(event, args):
    if event in EVENTS or (event == "open" and args[2] & WRITES and args[0] != os.devnull):
        seen.append([event, repr(args)[:300]])

sys.addaudithook(hook)
"""

EVERY_MODULE = """
for module in pkgutil.walk_packages(softtf.__path__, "softtf."):
    importlib.import_module(module.name)
"""


def events(code: str, home: Path) -> list[list[str]]:
    """What a new process does that runs `code`, with a home of its own."""
    home.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SOFTTF", "HF_", "XDG"))}
    environment |= {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    script = f"{HOOK}\n{code}\nprint(json.dumps(seen))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=home)
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("module", ["softtf", "softtf.cli"])
def test_importing_does_nothing_to_the_machine(module: str, tmp_path: Path) -> None:
    assert events(f"import {module}", tmp_path) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_all_of_softtf_does_no_more_than_the_libraries_it_imports(tmp_path: Path) -> None:
    """Torch runs ldconfig, torchvision makes a folder for torch's compiler, and matplotlib a list of fonts."""
    ours = events("import pkgutil, importlib, softtf\n" + EVERY_MODULE, tmp_path / "ours")
    libraries = events("import torch, timm, matplotlib.figure", tmp_path / "libraries")
    assert [name for name, _ in ours] == [name for name, _ in libraries]


def test_the_hook_sees_what_it_is_there_for(tmp_path: Path) -> None:
    code = "import subprocess, pathlib\nsubprocess.run(['true'])\npathlib.Path('x').mkdir()\nopen('y', 'w').close()"
    assert [name for name, _ in events(code, tmp_path)] == ["subprocess.Popen", "os.mkdir", "open"]
