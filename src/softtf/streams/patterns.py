"""Files by a pattern, which only `glob` takes: everywhere else a path is no pattern."""

import glob as patterns
import os
from itertools import islice
from pathlib import Path

from softtf.errors import UserError
from softtf.streams.archive import ending_of
from softtf.streams.examples import Examples
from softtf.streams.walk import is_image_name

MOST = 2**20
"""Files that a pattern may name."""


def glob(pattern: str) -> Examples:
    """Return the images that a pattern names, each with the name of its folder as its label: to learn, or to predict.

    Args:
        pattern: as for Python's glob; `**` stands for any folders, hidden ones are passed over.

    Raises:
        UserError: it names no image, or more than a million files.
    """
    named = list(islice(patterns.iglob(os.path.expanduser(pattern), recursive=True), MOST + 1))
    if len(named) > MOST:
        raise UserError(f"{pattern} names more than {MOST:,} files; give a narrower pattern")
    found = sorted(name for name in named if is_image_name(name) and os.path.isfile(name))
    if not found:
        also = f"; it names {len(named):,} others" if named else ""
        if any(ending_of(Path(name)) for name in named):
            also += ". Give one archive by its path, several as shard-{000..009}.tar"
        raise UserError(f"{pattern} names no image{also}")
    return Examples(found, [os.path.basename(os.path.dirname(os.path.abspath(name))) for name in found], pattern)
