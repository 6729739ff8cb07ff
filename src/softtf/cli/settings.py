"""The option --set NAME=VALUE."""

from collections.abc import Sequence
from typing import Any

from softtf.config.yaml import read_value
from softtf.errors import UserError


def named_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Return settings by their dotted names.

    Args:
        texts: such as `train.epochs=5`; the value is read as YAML, or is None as other options write it.

    Raises:
        UserError: a text has no `=`, or its value cannot be read.
    """
    settings = {}
    for text in texts:
        name, found, value = text.partition("=")
        if not found:
            raise UserError(f"--set {text!r}: write NAME=VALUE, such as train.epochs=5")
        settings[name.replace("-", "_")] = None if value == "None" else read_value(value)
    return settings
