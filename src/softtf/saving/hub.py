"""Learners on the Hub of Hugging Face: one repository a learner, in the form of its folder.

A repository is read like a folder from a stranger (docs/security.md): its manifest first, then the files that it names,
all of one commit, and nothing else. They are copied out of the Hub's cache, whose files are links.

This does not build on huggingface_hub's ModelHubMixin: its `from_pretrained` hands what an unsealed config.json of the
repository says, such as a folder for cached features, to the constructor; its `save_pretrained` writes this machine's
settings into that file and ignores arguments that it does not know (`replace`); with both replaced, nothing of the
mixin is left.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from softtf.backbones.spec import REVISION
from softtf.backbones.timm_weights import commit_of
from softtf.errors import UserError, first_line_of
from softtf.saving.card import CARD
from softtf.saving.manifest import MANIFEST, Manifest
from softtf.saving.zipped import MOST_FILES

T = TypeVar("T")
NAME = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)
OURS = ["learner*.json", "task-*.json", "task-*.safetensors", "shared-*.safetensors", MANIFEST]


def check_name(name: str, revision: str | None = None) -> None:
    """Refuse what cannot be the name of a repository, or a commit, branch or tag; raises UserError."""
    if not NAME.fullmatch(name) or ".." in name:
        raise UserError(f"{name!r} is no name of a repository on the Hub; write user/name")
    if revision is not None and (not REVISION.fullmatch(revision) or ".." in revision):
        raise UserError(f"revision must be a commit, branch or tag of the Hub, not {revision!r}")


def download(name: str, folder: Path, revision: str | None = None, token: str | None = None) -> str:
    """Copy a learner of the Hub into an empty folder; return the commit that it is of.

    Args:
        name: user/name.
        folder: there, and empty.
        revision: a commit, branch or tag; None for the main branch.
        token: the Hub's; None for the one that its client finds.

    Raises:
        UserError: there is no such learner, or the Hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download

    check_name(name, revision)

    def fetch(file: str, revision: str | None) -> Path:
        return Path(
            ask(f"load {name} from the Hub", lambda: hf_hub_download(name, file, revision=revision, token=token))
        )

    first = fetch(MANIFEST, revision)
    if (commit := commit_of(first)) is None:
        raise UserError(f"the Hub does not say which commit of {name} it gave")
    shutil.copyfile(first, folder / MANIFEST)
    files = sorted(Manifest.read(folder).files)
    if len(files) > MOST_FILES:
        raise UserError(f"{name} names {len(files):,} files; at most {MOST_FILES:,} are read")
    for file in files:
        shutil.copyfile(fetch(file, commit), folder / file)
    return commit


def earlier_card(name: str, folder: Path, revision: str | None, token: str | None) -> None:
    """Copy a repository's README.md, if it has one, into a folder, so that what its user wrote there stays."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    def fetch() -> str | None:
        try:
            return str(hf_hub_download(name, CARD, revision=revision, token=token))
        except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
            return None

    if (found := ask(f"read the card of {name}", fetch)) is not None:
        shutil.copyfile(found, folder / CARD)


def upload(folder: Path, name: str, private: bool | None, revision: str | None, token: str | None) -> str:
    """Make a folder the newest commit of a repository, which is made if it is new; return the commit.

    Raises:
        UserError: the Hub refuses it or cannot be reached.
    """
    from huggingface_hub import HfApi

    def push() -> str:
        api = HfApi(token=token)
        api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        found: Any = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            revision=revision,
            commit_message="Save a learner of softtf",
            delete_patterns=OURS,
        )
        return str(found.oid)

    return ask(f"push to {name} on the Hub", push)


def ask(what: str, call: Callable[[], T]) -> T:
    """Return what a call of the Hub's client returns.

    Raises:
        UserError: it failed, with any kind of error.
    """
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        return call()
    except Exception as error:  # the client raises many kinds, which mean the same to the user
        raise UserError(f"could not {what}: {first_line_of(error)}") from None
