"""The files of a learner and their hashes: one flipped bit in any file is found.

Each JSON file contains the SHA-256 of the rest of its text (`seal`). The JSON file of a task also contains the hashes
of the task's tensors, so the learner of a run is complete after each task. A learner that is saved at once also has
`manifest.json`, with the hash of every file; a run writes it after its last task. It is written last and moved into
place. Its keys are the names that the parts have in a run, and beside each key is the file that holds the part now. So
one move turns a folder into the next version of its learner (`softtf.saving.versions`).
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from softtf.errors import UserError
from softtf.files.plain_json import fits, object_of, read_small
from softtf.files.tensors import check_file, inside, write_atomic

MANIFEST, HEADER = "manifest.json", "learner.json"
FORMAT, UNSEALED = 2, 1  # of learner.json; softtf 0.1 wrote the latter, without hashes of JSON
PART = re.compile(r"(learner\.json|task-[0-9]{3,9}\.json|(?:task|shared)-[0-9]{3,9}\.safetensors)")
FILE = re.compile(
    r"(learner|task-[0-9]{3,9})(\.[0-9a-f]{12})?\.json|(task|shared)-[0-9]{3,9}(\.[0-9a-f]{12})?\.safetensors"
)
FILES = {"files": {str: {"file": str, "sha256": str}}}
SHORTEST_KEY = 16  # bytes


def holds_learner(path: Path) -> bool:
    """Return whether a path is a folder with a learner, whole or not, or a file, which may be a learner's zip file.

    After a learner was replaced, `learner.json` can have another name, which `manifest.json` has.
    """
    return path.is_file() or (path / MANIFEST).exists() or (path / HEADER).exists()


class Part(NamedTuple):
    """The file of a part of a learner, by its name in the folder, and the SHA-256 that it must have."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The parts of one version of a learner, by name; a file with another hash is refused."""

    folder: Path
    parts: Mapping[str, Part]

    @classmethod
    def read(cls, folder: Path, verify: bytes | None = None) -> "Manifest":
        """Read `manifest.json`. Without one, read the files of an unfinished run or of softtf 0.1.

        Args:
            folder: of the learner.
            verify: the key that it must be signed with; None asks for no signature.

        Raises:
            UserError: there is no learner, it is not whole, or it is not signed with that key.
        """
        if folder.is_file():
            raise UserError(f"{folder} is a file, not a folder; softtf learner unpack makes a folder of a zip file")
        file = folder / MANIFEST
        if not file.exists():
            if verify is not None:
                raise UserError(f"{folder} is not signed: there is no {MANIFEST} in it; save it with sign=...")
            try:
                parts = _parts_of_tasks(folder)
            except UserError:
                if not file.exists():
                    raise
            else:
                if not file.exists():
                    return cls(folder, parts)
            # It was replaced by another version while it was read.
        return cls.of_file(file, verify)

    @classmethod
    def of_file(cls, file: Path, verify: bytes | None = None) -> "Manifest":
        """Read a manifest: that of a folder's learner, or of an earlier version (`softtf.saving.history`).

        Raises:
            UserError: it is no manifest, it was changed, or it is not signed with the key `verify`.
        """
        content = unsealed(read_small(file), file)
        signature = content.pop("hmac_sha256", None)
        if verify is not None and not hmac.compare_digest(str(signature).encode(), _signed(content, verify).encode()):
            why = "is not signed; save it with sign=..." if signature is None else "was signed with another key"
            raise UserError(f"{file} {why}")
        return cls(file.parent, _parts_of_manifest(content, file))

    def write(self, sign: bytes | None = None) -> None:
        """Write `manifest.json`, which makes the folder this version of the learner.

        Raises:
            UserError: it cannot be written, or the key is too short.
        """
        write_atomic(self.folder / MANIFEST, self.text(sign))

    def text(self, sign: bytes | None = None) -> str:
        """Return the text of `manifest.json`; a key that is too short raises a UserError."""
        files = {name: part._asdict() for name, part in sorted(self.parts.items())}
        content: dict[str, Any] = {"format": 1, "files": files}
        signature = {} if sign is None else {"hmac_sha256": _signed(content, sign)}
        return seal(content | signature)

    @property
    def tasks(self) -> int:
        """The number of tasks."""
        return count_tasks(self.parts, self.folder)

    def after(self, tasks: int) -> "Manifest":
        """Return the manifest of the learner as it was after its first `tasks` tasks."""
        return Manifest(self.folder, {name: part for name, part in self.parts.items() if _number(name) <= tasks})

    @property
    def files(self) -> set[str]:
        """The names of the files of all parts."""
        return {part.file for part in self.parts.values()}

    def check_files(self) -> None:
        """Check the file of every part.

        Raises:
            UserError: one is missing, or is not the one that was saved.
        """
        for name in self.parts:
            check_file(*self.path(name))

    @property
    def identity(self) -> str:
        """The SHA-256 over all parts of the learner."""
        return hashlib.sha256(repr(sorted((name, p.sha256) for name, p in self.parts.items())).encode()).hexdigest()

    def path(self, name: str) -> tuple[Path, str]:
        """Return the path of a part, and its SHA-256.

        Raises:
            UserError: there is no such part.
        """
        if name not in self.parts:
            raise UserError(f"{self.folder} is not a whole learner: it has no {name}")
        return self.folder / self.parts[name].file, self.parts[name].sha256

    def json(self, name: str) -> dict[str, Any]:
        """Read a JSON part.

        Raises:
            UserError: there is no such part, or its file is not the one that was saved.
        """
        path, sha256 = self.path(name)
        data = read_small(path)
        if (found := hashlib.sha256(data).hexdigest()) != sha256:
            raise UserError(f"{path} is not the file that was saved: SHA-256 is {found}, expected {sha256}")
        content = object_of(data, path)
        content.pop("sha256", None)
        return content


def seal(content: Mapping[str, Any]) -> str:
    """Return content as the text of a JSON file, with the SHA-256 of that content added."""
    sha256 = hashlib.sha256(json.dumps(content, indent=2).encode()).hexdigest()
    return json.dumps({**content, "sha256": sha256}, indent=2)


def unsealed(data: bytes, path: Path) -> dict[str, Any]:
    """Return the content that `seal` was given.

    Raises:
        UserError: the text is not bit for bit what `seal` returned.
    """
    content = object_of(data, path)
    if content.pop("sha256", None) is None:
        raise UserError(f"{path} is not the file that was saved: it names no SHA-256 of its own")
    if seal(content).encode() != data:
        raise UserError(f"{path} is not the file that was saved: its SHA-256 is not the one that it names")
    return content


def count_tasks(names: Iterable[str], folder: Path) -> int:
    """Return the number of tasks of a learner whose parts, or files, have these names.

    Raises:
        UserError: a task in the middle is missing.
    """
    numbers = {int(name[5:-5]): name for name in names if re.fullmatch(r"task-[0-9]{3,9}\.json", name)}
    count = next(n for n in range(len(numbers) + 1) if n + 1 not in numbers)
    if later := sorted(number for number in numbers if number > count):
        raise UserError(f"{folder} lacks {task_json(count)} but has {numbers[later[0]]}; it is not a whole learner")
    return count


def _number(part: str) -> int:
    """Return the number of a part's task, from 1; 0 for the header."""
    found = re.search(r"-(\d+)", part)
    return int(found[1]) if found else 0


def task_json(task: int) -> str:
    """Return the name of a task's JSON file; task: from 0."""
    return f"task-{task + 1:03d}.json"


def task_tensors(task: int) -> str:
    """Return the name of a task's tensors."""
    return f"task-{task + 1:03d}.safetensors"


def shared_tensors(task: int) -> str:
    """Return the name of the file with what tasks shared after this task."""
    return f"shared-{task + 1:03d}.safetensors"


def check_format(header: Mapping[str, Any], path: Path) -> None:
    """Refuse a learner.json of a newer format; raises UserError."""
    if header.get("format") not in (FORMAT, UNSEALED) or isinstance(header.get("format"), bool):
        raise UserError(f"{path} has a format that this softtf does not know; it knows formats {UNSEALED} and {FORMAT}")


def _parts_of_manifest(content: Mapping[str, Any], path: Path) -> dict[str, Part]:
    folder = path.parent
    if content.get("format") != 1:
        raise UserError(f"{path} has a format that this softtf does not know; it knows format 1")
    if not fits(content, FILES) or HEADER not in content["files"]:
        what = f"{HEADER!r} is missing" if fits(content, FILES) else "its files are missing or wrong"
        raise UserError(f"{path} is not the manifest of a softtf learner: {what}")
    parts = {name: Part(values["file"], values["sha256"]) for name, values in content["files"].items()}
    for name, part in parts.items():
        if not PART.fullmatch(name) or not FILE.fullmatch(part.file):
            raise UserError(f"{path} names {part.file!r}, which is not the name of a file in {folder}")
        inside(folder, part.file)
    return parts


def _parts_of_tasks(folder: Path) -> dict[str, Part]:
    """Return the parts of a learner that has no manifest; the seal of each JSON file is checked."""
    file = folder / HEADER
    data = read_small(file)
    header = object_of(data, file)
    check_format(header, file)
    if header["format"] == FORMAT:
        header = unsealed(data, file)
    if header.get("manifest"):
        raise UserError(f"{folder / MANIFEST} is missing: the learner was not saved to its end, or the file was lost")
    count = count_tasks((path.name for path in folder.glob("task-*.json")), folder)
    parts = {HEADER: Part(HEADER, hashlib.sha256(data).hexdigest())}
    for task in range(count):
        path = folder / task_json(task)
        data = read_small(path)
        content = object_of(data, path)
        if header["format"] == FORMAT or "sha256" in content:
            content = unsealed(data, path)
        parts[path.name] = Part(path.name, hashlib.sha256(data).hexdigest())
        if not fits(content, {"files": {str: str}}) or task_tensors(task) not in content["files"]:
            raise UserError(f"{path} is not a task of a softtf learner: its files are missing or wrong")
        found = {name: Part(inside(folder, name).name, sha256) for name, sha256 in content["files"].items()}
        parts[task_tensors(task)] = found[task_tensors(task)]
        parts |= {name: part for name, part in found.items() if name == shared_tensors(task)}
    if header.get("tasks") not in (None, count):  # which softtf 0.1 wrote, once no more were to come
        raise UserError(f"{folder} lacks {task_json(count)}; it was saved with {header['tasks']} tasks")
    return parts


def _signed(content: Mapping[str, Any], key: bytes) -> str:
    if not isinstance(key, bytes) or len(key) < SHORTEST_KEY:
        raise UserError(f"the key of a signature must be bytes, {SHORTEST_KEY} or more; secrets.token_bytes(32) is one")
    return hmac.new(key, b"softtf learner\n" + json.dumps(content, indent=2).encode(), "sha256").hexdigest()
