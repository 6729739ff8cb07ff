"""One flipped bit in any file of a learner is found, and a signature finds what hashes do not: somebody else's hand."""

import json
import random
import re
import shutil
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest

from softtf.errors import UserError
from softtf.saving.card import CARD
from softtf.saving.learner import finish_saving
from softtf.saving.manifest import Manifest, seal, unsealed
from support.folders import as_softtf_0_1_saved_it, change, fit_manifest, load, read, replace_tensors
from support.tiny import assert_same, snapshot

KEY, OTHER = b"0123456789abcdef", b"0123456789abcdeF"
KINDS = ("run", "finished run", "saved", "replaced", "signed")


@pytest.fixture(
    params=[kind if kind in ("run", "saved") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def folder(request: pytest.FixtureRequest, saved: Path, tmp_path: Path) -> Path:
    """A learner as each of the ways to save one leaves it."""
    path = tmp_path / "learner"
    if "run" in request.param:
        shutil.copytree(saved, path)
        if request.param == "finished run":
            finish_saving(path)
    else:
        if request.param == "replaced":
            load(saved, tasks=2, inference="prompt-id").save_pretrained(path)
        load(saved).save_pretrained(path, replace=True, sign=KEY if request.param == "signed" else None)
    return path


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.slow
def test_a_flipped_bit_in_any_file_is_found(folder: Path) -> None:
    """Law 10; also in what all tasks shared after earlier ones, which a run keeps and no answer needs."""
    load(folder)
    draw = random.Random(0)
    (folder / CARD).unlink(missing_ok=True)  # which is no part of the learner
    files = sorted(folder.iterdir())
    assert len(files) >= 8 and all(file.suffix in (".json", ".safetensors") for file in files)
    for file in files:
        whole = file.read_bytes()
        bits = {0, 8 * len(whole) - 1, *(draw.randrange(8 * len(whole)) for _ in range(6))}
        for limit, bit in zip(cycle((None, 0)), bits):
            flip(file, bit)
            with pytest.raises(UserError) as caught:
                load(folder, memory_limit=limit)
            assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
            file.write_bytes(whole)
    load(folder)


@pytest.mark.slow
def test_every_bit_of_a_sealed_file_is_sealed(saved: Path) -> None:
    path = saved / "learner.json"
    data = path.read_bytes()
    assert unsealed(data, path)["seed"] == 3
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UserError, match=r"learner\.json"):
            unsealed(bytes(flipped), path)


def test_the_seed_and_a_class_name_that_were_changed_by_hand(folder: Path) -> None:
    manifest = Manifest.read(folder)
    for name, old, new in (("learner.json", '"seed": 3', '"seed": 2'), ("task-001.json", '"a"', '"c"')):
        path = manifest.path(name)[0]
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(UserError, match=f"{path.name} is not the file that was saved"):
            load(folder)
        path.write_text(text)


def test_files_of_two_versions_are_not_one_learner(saved: Path, tmp_path: Path) -> None:
    """Each file is whole, with its seal; the manifest tells that they were not saved together."""
    load(saved).save_pretrained(tmp_path / "a")
    load(saved, inference="gradient-id").save_pretrained(tmp_path / "b")
    shutil.copy(tmp_path / "a" / "learner.json", tmp_path / "b")
    with pytest.raises(UserError, match=r"learner\.json is not the file that was saved: SHA-256"):
        load(tmp_path / "b")


@pytest.mark.parametrize("finished", [True, False])
def test_what_softtf_0_1_saved_loads_as_it_did(finished: bool, saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(saved, folder)
    as_softtf_0_1_saved_it(folder, finished)
    assert_same(snapshot(load(folder).learner), snapshot(load(saved).learner))
    for path in (folder / "task-003.json", folder / "task-003.safetensors", folder / "shared-003.safetensors"):
        path.unlink()
    if finished:
        with pytest.raises(UserError, match="it was saved with 3 tasks"):
            load(folder)
    else:
        assert load(folder).num_tasks == 2
    with pytest.raises(UserError, match=r"is not signed: there is no manifest\.json"):
        load(folder, verify=KEY)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
    "not sealed": (
        lambda f: (f / "manifest.json").write_text(json.dumps(read(f / "manifest.json"))),
        "names no SHA-256 of its own",
    ),
    "no files": (lambda f: rewrite(f, files=None), "not the manifest of a softtf learner"),
    "files in a list": (lambda f: rewrite(f, files=["learner.json"]), "not the manifest of a softtf learner"),
    "no header": (lambda f: drop(f, "learner.json"), "not the manifest of a softtf learner: 'learner.json' is missing"),
    "no task": (lambda f: drop(f, "task-002.json"), "lacks task-002.json but has task-003.json"),
    "no tensors": (lambda f: drop(f, "task-002.safetensors"), "it has no task-002.safetensors"),
    "no shared": (lambda f: drop(f, "shared-003.safetensors"), "no shared state as of task 3"),
    "a path": (lambda f: name_file(f, "../outside/learner.json"), "not the name of a file"),
    "another file": (lambda f: name_file(f, "README.md"), "not the name of a file"),
    "a number": (lambda f: name_file(f, 3), "not the manifest of a softtf learner"),
    "another part": (
        lambda f: rewrite(f, files=read(f / "manifest.json")["files"] | {"x.json": {"file": "x.json", "sha256": ""}}),
        "not the name of a file",
    ),
    "a newer format": (lambda f: rewrite(f, format=2), "format that this softtf does not know"),
    "deep": (lambda f: (f / "manifest.json").write_text("[" * 200_000), "cannot be read"),
    "deep inside": (
        lambda f: (f / "manifest.json").write_text('{"sha256": "", "x": ' + "[" * 900 + "]" * 900 + "}"),
        "cannot be read: its lists and objects are nested more than",
    ),
}


def rewrite(folder: Path, **values: object) -> None:
    (folder / "manifest.json").write_text(seal(read(folder / "manifest.json") | values))


def drop(folder: Path, name: str) -> None:
    files = read(folder / "manifest.json")["files"]
    del files[name]
    rewrite(folder, files=files)


def name_file(folder: Path, file: object) -> None:
    files = read(folder / "manifest.json")["files"]
    files["learner.json"]["file"] = file
    rewrite(folder, files=files)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_manifest_that_is_none_is_refused_in_one_clear_line(kind: str, saved: Path, tmp_path: Path) -> None:
    damage, words = DAMAGE[kind]
    load(saved).save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


# --- signatures


@pytest.fixture
def signed(saved: Path, tmp_path: Path) -> Path:
    load(saved).save_pretrained(tmp_path / "signed", sign=KEY)
    return tmp_path / "signed"


def test_a_signed_learner_loads_for_who_has_the_key_and_for_who_does_not_ask(signed: Path, saved: Path) -> None:
    for model in (load(signed, verify=KEY), load(signed), load(signed, verify=KEY, memory_limit=0)):
        assert model.labels == load(saved).labels
    again = load(signed, verify=KEY)
    assert_same(snapshot(again.learner), snapshot(load(saved).learner))
    again.save_pretrained(signed, replace=True, sign=OTHER)
    assert load(signed, verify=OTHER).num_tasks == 3
    with pytest.raises(UserError, match="signed with another key"):
        load(signed, verify=KEY)


TAMPERING: dict[str, tuple[Callable[[Path], object], str]] = {  # with all hashes made to fit: they find no attacker
    "header": (lambda f: change(f / "learner.json", seed=4), "is not signed|another key"),
    "class name": (lambda f: change(f / "task-001.json", classes=["z", 1, ["t", 2]]), "is not signed|another key"),
    "tensors": (
        lambda f: (replace_tensors(f, lambda t: t["head.bias"].add_(1)), fit_manifest(f)),
        "is not signed|another key",
    ),
    "manifest, its signature kept": (
        lambda f: (lambda s: (change(f / "learner.json", seed=4), rewrite(f, hmac_sha256=s)))(
            read(f / "manifest.json")["hmac_sha256"]
        ),
        "signed with another key",
    ),
    "task taken away": (
        lambda f: (lambda s: (drop(f, "task-003.json"), drop(f, "task-003.safetensors"), rewrite(f, hmac_sha256=s)))(
            read(f / "manifest.json")["hmac_sha256"]
        ),
        "signed with another key",
    ),
    "signature stripped": (
        lambda f: (f / "manifest.json").write_text(seal({"format": 1, "files": read(f / "manifest.json")["files"]})),
        "is not signed",
    ),
    "signature of another type": (lambda f: rewrite(f, hmac_sha256=["x"]), "signed with another key"),
    "manifest taken away": (lambda f: (f / "manifest.json").unlink(), "is not signed"),
    "all as softtf 0.1 saved it": (as_softtf_0_1_saved_it, "is not signed"),
    "a file changed alone": (lambda f: flip(f / "task-002.safetensors", 9), "not the file that was saved"),
}


@pytest.mark.parametrize("kind", TAMPERING)
def test_what_was_changed_without_the_key_is_refused(kind: str, signed: Path) -> None:
    tamper, words = TAMPERING[kind]
    tamper(signed)
    with pytest.raises(UserError, match=words):
        load(signed, verify=KEY)


def test_a_learner_that_was_never_signed_is_refused_if_a_signature_is_asked_for(
    folder: Path, request: pytest.FixtureRequest
) -> None:
    if request.node.callspec.params["folder"] == "signed":
        assert load(folder, verify=KEY).num_tasks == 3
    else:
        with pytest.raises(UserError, match="is not signed"):
            load(folder, verify=KEY)


@pytest.mark.parametrize("key", [b"", b"fifteen bytes..", "a text that is long enough", 17])
def test_a_key_that_is_none_is_refused_and_nothing_is_saved(key: object, signed: Path, tmp_path: Path) -> None:
    message = "the key of a signature must be bytes, 16 or more; secrets.token_bytes(32) is one"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):  # which does not show the key
        load(signed).save_pretrained(tmp_path / "new", sign=key)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        load(signed, verify=key)
