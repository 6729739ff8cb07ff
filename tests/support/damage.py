"""What a disk, an editor or a stranger may do to a folder of saved files: one `Damage`, drawn by hypothesis."""

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

DEEP = 100_000
RAW = (  # JSON as it stands in a file; some of it is no value that Python's json writes
    *("null", "true", "false", "-1", "0", "1", "2", "0.5", "-0.0", "1e308", "1e400", "NaN", "-Infinity"),
    *(str(10**18), str(10**30), "9" * 5000, '""', '"0"', '"x"', '"\\u001b[31m[/b]"', '"\\ud800"', '"../../etc/passwd"'),
    *("[]", "{}", "[null]", '{"kind": "ncm"}', "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP),
    '"' + "x" * 10**6 + '"',
)
NAMES = (
    "task-000",
    "task-003",
    "task-004",
    "task-0003",
    "task-999",
    "shared-003",
    "Learner",
    "learner",
    "é",
    "x" * 200,
)


@dataclass(frozen=True)
class Damage:
    """kind: one of KINDS; seed: of every choice that the kind leaves."""

    kind: str
    seed: int

    def __call__(self, folder: Path, other: Path) -> None:
        """Do it to `folder`; `other` is another folder of the same form."""
        KINDS[self.kind](folder, other, random.Random(self.seed))


def trials(count: int) -> settings:
    """Settings for so many trials, the same ones each time; with TRIALS=N in the environment N others, drawn anew."""
    drawn = os.environ.get("TRIALS")
    return settings(deadline=None, max_examples=int(drawn or count), derandomize=not drawn)


def damages(*kinds: str) -> st.SearchStrategy[Damage]:
    """Any damage, or one of `kinds`."""
    return st.builds(Damage, st.sampled_from(kinds or sorted(KINDS)), st.integers(0, 2**32))


def files_of(folder: Path, *suffixes: str) -> list[Path]:
    """The files below a folder, of some suffixes or of any."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink())
    return [p for p in found if not suffixes or p.suffix in suffixes]


def _bytes(change: Callable[[bytearray, random.Random], bytes | bytearray]) -> Callable[..., None]:
    def damage(folder: Path, other: Path, draw: random.Random) -> None:
        path = draw.choice([p for p in files_of(folder) if p.stat().st_size])
        path.write_bytes(change(bytearray(path.read_bytes()), draw))

    return damage


def _flip(data: bytearray, draw: random.Random) -> bytearray:
    # Headers are short beside tensors, and say more.
    at = draw.randrange(len(data)) if draw.random() < 0.6 else draw.randrange(min(len(data), 300))
    data[at] ^= 1 << draw.randrange(8)
    return data


def _overwrite(data: bytearray, draw: random.Random) -> bytearray:
    at, length = draw.randrange(len(data)), draw.randrange(1, 64)
    part = data[at : at + length]
    data[at : at + length] = draw.choice([bytes(len(part)), draw.randbytes(len(part)), b"\xff" * len(part)])
    return data


def _cut_out(data: bytearray, draw: random.Random) -> bytearray:
    at = draw.randrange(len(data))
    del data[at : at + draw.randrange(1, 40)]
    return data


def _length(data: bytearray, draw: random.Random) -> bytearray:
    """Another length of the header that begins a safetensors file."""
    data[:8] = draw.choice([0, 1, len(data), 10**8, 2**40, 2**63, 2**64 - 1]).to_bytes(8, "little")
    return data


def _replaced_by_own(folder: Path, other: Path, draw: random.Random) -> None:
    first, second = draw.sample(files_of(folder), 2)
    first.write_bytes(second.read_bytes())


def _swapped(folder: Path, other: Path, draw: random.Random) -> None:
    first, second = draw.sample(files_of(folder), 2)
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)


def _from_another(folder: Path, other: Path, draw: random.Random) -> None:
    """The same file of another learner, or several of them; all but its card would be that learner."""
    names = [p.relative_to(other) for p in files_of(other) if p.name != "README.md"]
    for name in draw.sample(names, draw.randrange(1, len(names))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(other / name, folder / name)


def _renamed(folder: Path, other: Path, draw: random.Random) -> None:
    path = draw.choice(files_of(folder))
    path.rename(path.with_name(draw.choice(NAMES) + path.suffix))


def _copied(folder: Path, other: Path, draw: random.Random) -> None:
    path = draw.choice(files_of(folder))
    name = draw.choice(NAMES) + draw.choice([path.suffix, ".json", ".safetensors"])
    path.with_name(name).write_bytes(path.read_bytes())


def _deleted(folder: Path, other: Path, draw: random.Random) -> None:
    for path in draw.sample(files_of(folder), draw.choice([1, 1, 2])):
        path.unlink()


def _no_file(folder: Path, other: Path, draw: random.Random) -> None:
    """Something that is no regular file in a file's place."""
    path = draw.choice(files_of(folder))
    path.unlink()
    kind = draw.choice(["folder", "fifo", "zero", "itself", "nothing", "outside"])
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        outside = other / path.relative_to(folder)
        path.symlink_to({"zero": Path("/dev/zero"), "itself": path, "nothing": folder / "no", "outside": outside}[kind])


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in plain data: the keys and indices that lead there."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in parts for place in _places(part, (*path, key)))]


def _nudged(value: Any, draw: random.Random) -> Any:
    """A value of the same type that is another one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + draw.choice([1, -1, 2])
    if isinstance(value, str) and value:
        at = draw.randrange(len(value))
        return value[:at] + draw.choice("abz019 -") + value[at + 1 :]
    if isinstance(value, list) and value:
        return draw.choice([value[::-1], value[1:], value + value[:1]])
    return draw.choice([1, "x", [], {}])


MARK = "\0here"


def edited(text: str, draw: random.Random) -> str:
    """JSON text with one value changed, taken out, renamed, given twice or exchanged; it stays JSON."""
    content = json.loads(text)
    place = draw.choice(_places(content))
    holder: Any = {"": content}
    whole, (*path, last) = holder, ("", *place)
    for key in path:
        holder = holder[key]
    raw, way = (
        draw.choice(RAW),
        draw.choice(["raw", "raw", "nudged", "nudged", "out", "renamed", "twice", "added", "exchanged"]),
    )
    if way == "raw":
        holder[last] = MARK
    elif way == "nudged":
        holder[last] = _nudged(holder[last], draw)
    elif way == "out" and place:
        del holder[last]
    elif way == "renamed" and isinstance(holder, dict) and place:
        holder[_nudged(last, draw)] = holder.pop(last)
    elif way == "exchanged" and place:
        key = draw.choice([k for k in holder] if isinstance(holder, dict) else range(len(holder)))
        holder[last], holder[key] = holder[key], holder[last]
    elif way == "twice" and isinstance(holder, dict) and place:
        return json.dumps(whole[""]).replace(
            f"{json.dumps(last)}:", f"{json.dumps(last)}: {raw}, {json.dumps(last)}:", 1
        )
    elif isinstance(holder[last], dict):
        holder[last][draw.choice(["x", "kind", "format", "files"])] = MARK
    elif isinstance(holder[last], list):
        holder[last].append(MARK)
    else:
        holder[last] = MARK
    return json.dumps(whole[""], indent=draw.choice([None, 2])).replace(json.dumps(MARK), raw)


def _json(folder: Path, other: Path, draw: random.Random) -> None:
    path = draw.choice(files_of(folder, ".json", ".jsonl"))
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    at = draw.randrange(len(lines))
    lines[at] = edited(lines[at], draw)
    path.write_text("\n".join(lines) + "\n", errors="surrogatepass")


def _odd_json(folder: Path, other: Path, draw: random.Random) -> None:
    """A whole file, or a line of it, of another form."""
    path = draw.choice(files_of(folder, ".json", ".jsonl"))
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    lines[draw.randrange(len(lines))] = draw.choice(RAW)
    path.write_text("\n".join(lines) + "\n")


def _tensor_header(folder: Path, other: Path, draw: random.Random) -> None:
    """A safetensors file whose header is edited, and its length put right."""
    path = draw.choice(files_of(folder, ".safetensors"))
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = edited(data[8:end].decode(), draw).encode(errors="surrogatepass")
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[end:])


def _tensor_values(folder: Path, other: Path, draw: random.Random) -> None:
    """Bytes of tensors that read as NaN, infinity, large or random numbers of 4 or 8 bytes."""
    path = draw.choice(files_of(folder, ".safetensors"))
    data = bytearray(path.read_bytes())
    first = 8 + int.from_bytes(data[:8], "little")
    if first + 8 >= len(data):
        return
    value = draw.choice([b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f", b"\xff" * 4, draw.randbytes(4)])
    at = first + 4 * draw.randrange((len(data) - first) // 4 - 1)
    data[at : at + 8] = value * 2
    path.write_bytes(data)


KINDS: dict[str, Callable[[Path, Path, random.Random], None]] = {
    "bit": _bytes(_flip),
    "bytes": _bytes(_overwrite),
    "cut off": _bytes(lambda data, draw: data[: draw.randrange(len(data))]),
    "cut out": _bytes(_cut_out),
    "longer": _bytes(lambda data, draw: data + draw.choice([b"\0", b"\n", b"{}", data, bytes(5000)])),
    "length": _bytes(_length),
    "own file": _replaced_by_own,
    "swapped": _swapped,
    "another's": _from_another,
    "renamed": _renamed,
    "copied": _copied,
    "deleted": _deleted,
    "no file": _no_file,
    "json": _json,
    "odd json": _odd_json,
    "tensor header": _tensor_header,
    "tensor values": _tensor_values,
}
