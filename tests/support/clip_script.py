"""The script that trains the tiny CLIP, as a module: its tokenizer and its pieces are tested and used by tests."""

import importlib.util
from pathlib import Path
from typing import Any

_spec = importlib.util.spec_from_file_location(
    "train_tiny_clip", Path(__file__).parents[2] / "scripts" / "train_tiny_clip.py"
)
assert _spec is not None and _spec.loader is not None
script: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(script)
