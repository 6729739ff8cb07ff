"""Notes the commit in the built package, so that results can name it; everything else is in pyproject.toml."""

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithCommit(build_py):
    """Writes softtf/_commit.txt where this is built from a git checkout."""

    def run(self) -> None:
        """Build as usual, then write the file."""
        super().run()
        git = ["git", "-C", str(Path(__file__).parent)]
        try:
            head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
            changed = subprocess.run([*git, "status", "--porcelain", "src"], capture_output=True, text=True)
        except OSError:
            return
        if head.returncode == 0:
            mark = "+" if changed.stdout.strip() else ""
            Path(self.build_lib, "softtf", "_commit.txt").write_text(f"{head.stdout.strip()}{mark}\n")


setup(cmdclass={"build_py": BuildWithCommit})
