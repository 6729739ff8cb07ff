"""Where the masks of a learner are once it is loaded: in memory, in their files, or the hottest of them in memory."""

import re
from typing import Literal

from softtf.errors import UserError, unknown

Masks = Literal["memory", "disk"]
MaskPlace = Masks | int
"""`memory`; `disk`, in their files; or in their files with copies in memory of so many bytes at most."""
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def mask_place(masks: Masks, memory_limit: int | str | None) -> MaskPlace:
    """Return the place for masks that a user asks for.

    Args:
        masks: `memory` or `disk`.
        memory_limit: the most bytes of masks in memory, such as `2GB`; None for no limit.

    Raises:
        UserError: there is no such place, or the limit is no number of bytes.
    """
    if masks not in ("memory", "disk"):
        raise unknown("place for masks", str(masks), ["memory", "disk"])
    if memory_limit is None:
        return masks
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?B)?", str(memory_limit).strip().upper())
    if found is None or isinstance(memory_limit, bool):
        raise UserError(f"memory_limit must be a number of bytes, such as 500MB or 2GB, not {memory_limit!r}")
    return int(float(found[1]) * UNITS[found[2] or ""])
