"""An identity of a run's data, by which a resumed run knows them: cheap to compute, and independent of their folder."""

import hashlib
import os
import random
from collections.abc import Mapping
from pathlib import Path

from softtf.errors import UserError, reason_of
from softtf.seeds import derive_seed
from softtf.streams.examples import Examples, content

SAMPLED = 64  # examples whose contents are read
WORDS = {
    "labels": "other labels",
    "files": "other file names or sizes",
    "sizes": "inputs of other lengths",
    "contents": "other contents",
}

Identity = Mapping[str, int | str]


def identity(examples: Examples) -> dict[str, int | str]:
    """Return the number of examples and hashes (SHA-256) of labels, file names and sizes, and a sample's contents.

    Texts and images in data sets also have a hash of their lengths in bytes, "sizes". The folder of a file does not
    count, so that data may move.

    Raises:
        UserError: a file is missing.
    """
    files, contents = hashlib.sha256(), hashlib.sha256()
    if isinstance(examples[0], Path):
        for i in range(len(examples)):
            files.update(_file(examples[i], examples.where(i)))
    for i in _sample(len(examples)):
        raw = examples[i]
        parts = [raw.encode("utf-8", "surrogatepass")] if isinstance(raw, str) else content(raw, examples.where(i))
        contents.update(repr([hashlib.sha256(part).hexdigest() for part in parts]).encode())
    labels = repr([(type(label).__name__, label) for label in examples.labels]).encode("utf-8", "surrogatepass")
    sizes = examples.sizes()
    return {
        "examples": len(examples),
        "labels": hashlib.sha256(labels).hexdigest(),
        **({} if sizes is None else {"sizes": hashlib.sha256(sizes.astype("<i8").tobytes()).hexdigest()}),
        "files": files.hexdigest(),
        "contents": contents.hexdigest(),
    }


def difference(before: Identity, now: Identity) -> str | None:
    """Return in words how data differ from those before; None if they do not. Older identities have no sizes."""
    if before["examples"] != now["examples"]:
        return f"{now['examples']:,} examples, not {before['examples']:,}"
    both = [key for key in WORDS if key in before and key in now]
    return next((WORDS[key] for key in both if before[key] != now[key]), None)


def _file(path: Path, where: str) -> bytes:
    try:
        return repr((path.name, os.stat(path).st_size)).encode("utf-8", "surrogateescape")
    except OSError as error:
        raise UserError(f"{where}: the file {str(path)!r} cannot be read ({reason_of(error)})") from None


def _sample(length: int) -> list[int]:
    """Return the first and the last index, and some random ones between them."""
    drawn = random.Random(derive_seed("data", length)).sample(range(length), min(length, SAMPLED))
    return sorted({0, length - 1, *drawn})
