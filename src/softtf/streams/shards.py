"""Shards: archives that one path names by a range of numbers, `shard-{000..009}.tar`, as webdatasets are named."""

import os
import re
from pathlib import Path

from softtf.errors import UserError
from softtf.streams.archive import ending_of

RANGE = re.compile(r"\{([0-9]+)\.\.([0-9]+)\}")
MOST = 10_000
"""Archives that a path may name."""


def shards(path: Path) -> list[Path]:
    """Return the archives that a path names by ranges, in their order; none if it has no range, or is there itself.

    Raises:
        UserError: one of them is not there, a range runs backwards, or there are too many.
    """
    if ending_of(path) is None or RANGE.search(str(path)) is None or os.path.exists(path):
        return []
    names = [str(path)]
    while (found := RANGE.search(names[0])) is not None:
        first, last = found.groups()
        count = int(last) - int(first) + 1
        if count < 1:
            raise UserError(f"{path}: {found[0]} runs backwards; give the smaller number first")
        if count * len(names) > MOST:
            raise UserError(f"{path} names more than {MOST:,} archives; narrow the range")
        numbers = [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
        names = [RANGE.sub(number, name, count=1) for name in names for number in numbers]
    if missing := [name for name in names if not Path(name).is_file()]:
        raise UserError(f"{path} names {len(names):,} archives, and {missing[0]} is not there; change the range")
    return [Path(name) for name in names]
