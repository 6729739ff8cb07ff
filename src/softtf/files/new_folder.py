"""A new folder that is there whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from softtf.errors import UserError, reason_of
from softtf.files.temporary import temporary_name


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `folder` at the end; if anything raises, nothing is left.

    Raises:
        UserError: the folder is not new or empty, or cannot be written.
    """
    place = folder.with_name(temporary_name())
    try:
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise UserError(f"{folder} exists and is not empty; choose another folder")
        place.mkdir(parents=True)
        yield place
        with suppress(FileNotFoundError):
            folder.rmdir()
        place.rename(folder)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {reason_of(error)}") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
