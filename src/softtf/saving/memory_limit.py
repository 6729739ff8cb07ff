"""How many bytes of a loaded learner's masks are in memory; the others stay in their files."""

import re

from softtf.errors import UserError

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def bytes_of(memory_limit: int | str | None) -> int | None:
    """Return a limit as bytes.

    Args:
        memory_limit: such as `2GB`; 0 leaves all masks in their files, None loads all of them into memory.

    Raises:
        UserError: it is no number of bytes.
    """
    if memory_limit is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?B)?", str(memory_limit).strip().upper())
    if found is None or isinstance(memory_limit, bool):
        raise UserError(f"memory_limit must be a number of bytes, such as 500MB or 2GB, not {memory_limit!r}")
    return int(float(found[1]) * UNITS[found[2] or ""])
