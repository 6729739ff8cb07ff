"""Where a learner may lie: in a folder, in a zip file, or on the Hub."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from softtf.errors import UserError
from softtf.saving.hub import NAME, download
from softtf.saving.zipped import unpack


@contextmanager
def located(place: str | Path, revision: str | None = None) -> Iterator[tuple[Path, str | None]]:
    """Yield a learner's folder, and the commit if it is of the Hub; what was unpacked or copied is gone afterwards.

    Files that are mapped stay on disk until they are let go (not on Windows).

    Args:
        place: a folder or a zip file; or user/name on the Hub, if it is a string and there is no such folder. A path
            is never looked up on the Hub.
        revision: a commit, branch or tag of the Hub.

    Raises:
        UserError: there is nothing of that name, or it is no learner.
    """
    path = Path(place)
    on_hub = isinstance(place, str) and NAME.fullmatch(place) is not None and not os.path.lexists(path)
    if revision is not None and not on_hub:
        raise UserError(
            f"revision is for learners on the Hub; {place} is {'here' if path.exists() else 'no user/name'}"
        )
    if not on_hub and not path.is_file():
        yield path, None
        return
    with tempfile.TemporaryDirectory(prefix="softtf-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) / "learner"
        if on_hub:
            folder.mkdir()
            yield folder, download(str(place), folder, revision)
        else:
            unpack(path, folder)
            yield folder, None
