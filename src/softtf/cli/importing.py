"""`--import FILE`: run a Python file of the user's, so that softtf knows its classes by their kinds and names.

Only the command line imports: a config.yaml or a saved learner names kinds, never files to run.
"""

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from softtf.errors import UserError


def import_file(path: Path) -> None:
    """Import one Python file, once; it can import modules beside it, as a script can.

    Raises:
        UserError: the file is missing, or raises an error.
    """
    path = path.resolve()
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"--import {path}: there is no such Python file; give the path of one that ends in .py")
    if any(getattr(module, "__file__", None) == str(path) for module in list(sys.modules.values())):
        return
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_{len(sys.modules)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"--import {path}: {_place(error, path)}{type(error).__name__}: {error}") from error


def import_files(paths: Sequence[Path]) -> None:
    """Import Python files, as in the process that was given them with --import.

    Raises:
        UserError: as `import_file`.
    """
    for path in paths:
        import_file(path)


def _place(error: Exception, path: Path) -> str:
    """Return the line of the file that an error comes from, such as `line 3: `."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    return f"line {line}: " if line else ""
