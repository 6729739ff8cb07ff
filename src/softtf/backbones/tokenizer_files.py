"""What the files of a tokenizer may ask for; checked before the tokenizers library reads them.

The library is written in Rust: if a text grows without end in it, the process ends, and no error can be caught.
"""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from softtf.errors import UserError
from softtf.files.plain_json import read_object

STEPS = 32
"""The most steps of a normaliser, of a pre-tokeniser and of a post-processor."""
GROWTH = 256
"""How many times as long a normaliser may make a text; XLM-RoBERTa's makes one letter 18."""
COMPOSED = {"NFC": 3, "NFD": 4, "NFKC": 18, "NFKD": 18, "BertNormalizer": 12}
"""The most characters that a normaliser makes of one."""
FILE, VERSIONS = ("tokenizer_file", "vocab_file", "merges_file"), "fast_tokenizer_files"


def check_settings(settings: dict[str, Any], place: str) -> None:
    """Refuse settings of tokenizer_config.json that lead to files outside the folder, or to a tokenizer not checked.

    Raises:
        UserError: there is such a setting.
    """
    for name in FILE:
        if isinstance(path := settings.get(name), str) and os.path.exists(path):
            raise UserError(f"{place}: its tokenizer names {path!r} as its {name}; softtf reads its own folder only")
    if settings.get(VERSIONS) not in (None, [], ["tokenizer.json"]):
        raise UserError(f"{place}: its tokenizer has other files than tokenizer.json ({VERSIONS}); softtf reads none")


def check_tokenizer(file: Path) -> None:
    """Refuse a tokenizer.json that makes texts much longer, has very many steps, or answers at random.

    Raises:
        UserError: it cannot be read, or is one of these.
    """
    whole = read_object(file)
    for part in ("normalizer", "pre_tokenizer", "post_processor"):
        steps = list(_steps(whole.get(part)))
        if len(steps) > STEPS:
            raise UserError(f"{file}: its {part} has {len(steps):,} steps; softtf takes at most {STEPS}")
        growth = 1
        for step in steps:
            growth *= _growth(step, file)
            if growth > GROWTH:
                raise UserError(f"{file}: its {part} makes a text over {GROWTH} times as long; softtf refuses that")
    model = whole.get("model")
    if isinstance(model, dict) and model.get("dropout"):
        raise UserError(f"{file}: its tokenizer draws tokens at random (dropout); set model.dropout to null in it")


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """Yield the steps of a part, those in sequences one by one."""
    if isinstance(part, list):
        for step in part:
            yield from _steps(step)
    elif isinstance(part, dict) and part.get("type") == "Sequence":
        for value in part.values():
            yield from _steps(value)
    elif isinstance(part, dict):
        yield part
        yield from ({} for _ in range(len(part.get("single") or ()) - 1))  # the pieces of a template


def _growth(step: dict[str, Any], file: Path) -> int:
    """Return how many times as long a step may make a text, rounded up."""
    content, pattern = step.get("content"), step.get("pattern")
    if step.get("type") == "Replace" and isinstance(content, str) and isinstance(pattern, dict):
        text = pattern.get("String")
        return 1 + len(content) // max(len(text), 1) if isinstance(text, str) else 1 + len(content)
    if step.get("type") == "Prepend" and isinstance(added := step.get("prepend"), str):
        return 1 + len(added) // 16
    if step.get("type") == "Precompiled":
        return _longest(step.get("precompiled_charsmap"), file)
    return COMPOSED.get(str(step.get("type")), 1)


def _longest(charsmap: Any, file: Path) -> int:
    """Return the length of the longest replacement in a character map of sentencepiece.

    The map is the length of a trie (4 bytes), the trie, and the replacements, each with a zero at its end.
    """
    try:
        data = base64.b64decode(charsmap, validate=True)
        end = 4 + int.from_bytes(data[:4], "little")
        if not 4 < end <= len(data):
            raise ValueError
        return max(len(text.decode()) for text in data[end:].split(b"\0"))
    except (ValueError, TypeError):
        raise UserError(f"{file}: its normalizer has a precompiled_charsmap that cannot be read") from None
