"""Every method does what was written down of it (README.md); about two minutes."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_method_does_what_was_written_down() -> None:
    script = Path(__file__).parents[2] / "scripts" / "net.py"  # a process of its own: it sets threads before torch
    done = subprocess.run([sys.executable, script, "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
