"""`save_pretrained` into any folder fit for it, and over an older version: old or new, whole, whatever happens."""

import errno
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.files import temporary
from softtf.learners import LinearHead
from softtf.saving.manifest import Manifest
from support.folders import SOFT_TF, as_softtf_0_1_saved_it, change, load, read
from support.stopping import Killer
from support.tiny import TRAIN, assert_same, classifier, pictures, snapshot, task_data

ABANDONED = f".{temporary.HOST}-4194999-0123456789ab.tmp"  # of a process that cannot be: pids end below that


@pytest.fixture(scope="module")
def models(saved: Path) -> tuple[ContinualClassifier, ContinualClassifier]:
    """A learner after two tasks and after three, with different settings besides."""
    return load(saved, tasks=2), load(saved, inference="gradient-id")


@pytest.fixture(scope="module")
def smaller(saved: Path) -> tuple[ContinualClassifier, ContinualClassifier]:
    """A learner after its first task and after its second: few files, for what is tried before each of them."""
    return load(saved, tasks=1), load(saved, tasks=2, inference="gradient-id")


Models = tuple[ContinualClassifier, ContinualClassifier]


def same(a: ContinualClassifier, b: ContinualClassifier) -> bool:
    """Whether two classifiers are one and the same in every bit."""
    if a.header != b.header or a.labels != b.labels:
        return False
    assert_same(snapshot(a.learner), snapshot(b.learner))
    return True


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def only_the_learner(folder: Path) -> bool:
    return names(folder) == {
        "README.md",
        "manifest.json",
        *(part.file for part in Manifest.read(folder).parts.values()),
    }


# --- folders of all kinds


@pytest.mark.slow
def test_a_link_to_an_empty_folder_an_own_folder_below_a_foreign_one_and_a_long_name(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    long = tmp_path / ("n" * 250)
    for folder in (tmp_path / "link", long):
        models[1].save_pretrained(folder)
        assert same(load(folder), models[1]) and only_the_learner(folder)
    assert names(tmp_path) == {"real", "link", long.name} and (tmp_path / "link").is_symlink()

    own = tmp_path / "foreign" / "own"
    own.mkdir(parents=True)
    touched: list[Path] = []  # root may write anywhere: so what is touched is looked at
    true = os.replace

    def replace(source: Any, target: Any) -> None:
        touched.extend([Path(source).parent, Path(target).parent])
        true(source, target)

    monkeypatch.setattr(os, "replace", replace)
    models[1].save_pretrained(own)
    assert touched and set(touched) == {own} and names(own.parent) == {"own"}


def test_a_folder_that_cannot_be_moved_onto_as_a_mount_point(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounted").mkdir()
    for name in ("replace", "rename"):
        true = getattr(os, name)

        def refuse(source: Any, target: Any, true: Callable[..., Any] = true) -> None:
            if Path(target) == tmp_path / "mounted":
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            true(source, target)

        monkeypatch.setattr(os, name, refuse)
    models[0].save_pretrained(tmp_path / "mounted")
    models[1].save_pretrained(tmp_path / "mounted", replace=True)
    assert same(load(tmp_path / "mounted"), models[1])


def test_a_new_disk_with_nothing_but_lost_and_found_is_empty(models: Models, tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    models[0].save_pretrained(tmp_path)
    assert same(load(tmp_path), models[0]) and (tmp_path / "lost+found").is_dir()
    models[1].save_pretrained(tmp_path, replace=True)
    assert same(load(tmp_path), models[1])


@pytest.mark.parametrize("limit", [None, 0])
def test_a_folder_whose_name_is_not_utf_8(limit: int | None, models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "r\udcff"
    models[0].save_pretrained(folder)
    assert same(load(folder, memory_limit=limit), models[0])
    (folder / "task-001.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"r\\udcff/task-001\.safetensors is not the file that was saved"):
        load(folder)


@pytest.mark.parametrize("kind", ["file", "broken link", "file as parent", "too long", "NUL"])
def test_a_place_where_no_folder_can_be_is_refused_in_one_line(kind: str, models: Models, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "else")
    places = {
        "file": "file",
        "broken link": "link",
        "file as parent": "file/below",
        "too long": "n" * 300,
        "NUL": "a\0b",
    }
    with pytest.raises(UserError) as caught:
        models[0].save_pretrained(tmp_path / places[kind], replace=True)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == {"file", "link"} and (tmp_path / "file").read_text() == "mine"


# --- what replace=True replaces, and what not


def test_the_same_task_files_stay_and_the_new_are_beside_them(models: Models, tmp_path: Path) -> None:
    models[0].save_pretrained(tmp_path / "kept")
    (tmp_path / "kept" / "README.md").write_text("mine")
    before = {path.name: path.stat() for path in (tmp_path / "kept").iterdir()}
    models[1].save_pretrained(tmp_path / "kept", replace=True)
    after = {path.name: path.stat() for path in (tmp_path / "kept").iterdir()}
    stayed = {name for name in before.keys() & after.keys() if before[name].st_ino == after[name].st_ino}
    assert stayed == {"README.md", *(f"task-00{n}.{kind}" for n in (1, 2) for kind in ("json", "safetensors"))}
    assert before.keys() - after.keys() == {"learner.json", "shared-002.safetensors"}
    assert same(load(tmp_path / "kept"), models[1])
    models[0].save_pretrained(tmp_path / "fresh")
    models[1].save_pretrained(tmp_path / "fresh", replace=True)
    once = names(tmp_path / "fresh")
    models[1].save_pretrained(tmp_path / "fresh", replace=True)
    assert names(tmp_path / "fresh") == once and only_the_learner(tmp_path / "fresh")


def test_a_damaged_file_is_written_again_and_not_left(models: Models, tmp_path: Path) -> None:
    models[1].save_pretrained(tmp_path)
    (tmp_path / "task-001.safetensors").write_bytes(b"damaged")
    models[1].save_pretrained(tmp_path, replace=True)
    assert same(load(tmp_path), models[1]) and only_the_learner(tmp_path)
    path = Manifest.read(tmp_path).path("task-001.safetensors")[0]
    path.write_bytes(b"again")
    models[1].save_pretrained(tmp_path, replace=True)
    assert same(load(tmp_path), models[1])


def test_nothing_but_a_learner_is_replaced(models: Models, tmp_path: Path, saved: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "task-001.json").write_text("all I have")
    shutil.copytree(saved, tmp_path / "lost")
    (tmp_path / "lost" / "task-002.json").unlink()  # a learner that is not whole: what is there may be all there is
    models[0].save_pretrained(tmp_path / "no manifest")
    (tmp_path / "no manifest" / "manifest.json").unlink()
    shutil.copytree(saved, tmp_path / "run" / "learner")
    (tmp_path / "run" / "config.yaml").write_text("seed: 0")
    for folder in ("thesis", "lost", "no manifest", "run/learner"):
        path = tmp_path / folder
        before = {file: file.read_bytes() for file in path.iterdir()}
        for replace in (False, True):
            with pytest.raises(UserError, match="is not empty|belongs to the run"):
                models[1].save_pretrained(path, replace=replace)
        assert {file: file.read_bytes() for file in path.iterdir()} == before


@pytest.mark.parametrize("kind", ["run", "softtf 0.1"])
def test_what_was_saved_without_a_manifest_is_replaced_too(
    kind: str, models: Models, saved: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    if kind == "softtf 0.1":
        as_softtf_0_1_saved_it(folder)
    with pytest.raises(UserError, match="not empty"):
        models[1].save_pretrained(folder)
    models[1].save_pretrained(folder, replace=True)
    assert same(load(folder), models[1]) and only_the_learner(folder)
    assert "shared-003.safetensors" in names(folder)


@pytest.mark.filterwarnings("error")
def test_it_is_said_what_is_replaced_if_that_is_no_older_version(models: Models, tmp_path: Path) -> None:
    models[0].save_pretrained(tmp_path)
    models[1].save_pretrained(tmp_path, replace=True)  # nothing to say
    with pytest.warns(UserWarning, match="held another learner, a dual-prompt of 3 tasks; it is replaced"):
        models[0].save_pretrained(tmp_path, replace=True)
    other = classifier(LinearHead(), 1)
    with pytest.warns(UserWarning, match="a dual-prompt of 2 tasks; it is replaced"):
        other.save_pretrained(tmp_path, replace=True)
    assert same(load(tmp_path), other)
    (tmp_path / read_file(tmp_path, "task-001.json")).write_text("{}")
    with pytest.warns(UserWarning, match=r"held a damaged learner \(.*it is replaced"):
        models[0].save_pretrained(tmp_path, replace=True)
    assert same(load(tmp_path), models[0])


def read_file(folder: Path, name: str) -> str:
    file: str = read(folder / "manifest.json")["files"][name]["file"]
    return file


# --- a crash at any file


UNTOUCHED = 3


def in_a_process(act: Callable[[], object]) -> int:
    """Do something in a fork; return its exit status: 0 done, 1 a UserError, 2 another one, or minus the signal."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            act()
            code = 0
        except UserError:
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Failing(Killer):
    """Raises an OSError at the `number`-th thing done to files, and goes on."""

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if self.left >= 0 and event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"):
            writes = event != "open" or bool(args[2] & (os.O_WRONLY | os.O_RDWR))
            if writes and not isinstance(args[0], int) and Path(os.fsdecode(args[0])).is_relative_to(self.path):
                self.left -= 1
                if self.left < 0:
                    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*it is replaced")
@pytest.mark.parametrize(
    ("start", "how"),
    [
        ("nothing", "killed"),
        ("nothing", "failing"),
        ("older version", "killed"),
        ("older version", "torn"),
        ("older version", "failing"),
        ("longer one", "killed"),
        ("softtf 0.1", "killed"),
    ],
)
def test_a_crash_at_any_file_leaves_the_old_version_or_the_new_one(
    start: str, how: str, smaller: Models, tmp_path: Path
) -> None:
    old, new = reversed(smaller) if start == "longer one" else smaller
    for number in range(1000):
        folder = tmp_path / str(number)
        if start != "nothing":
            old.save_pretrained(folder)
        if start == "softtf 0.1":
            as_softtf_0_1_saved_it(folder)
        hook = (Failing if how == "failing" else Killer)(folder, number, how == "torn")

        def act(folder: Path = folder, hook: Killer = hook) -> None:
            sys.addaudithook(hook)
            new.save_pretrained(folder, replace=True)
            if hook.left >= 0:
                os._exit(UNTOUCHED)

        code = in_a_process(act)
        assert code == UNTOUCHED or code in ((0, 1) if how == "failing" else (-signal.SIGKILL,))
        if code in (0, UNTOUCHED):
            assert same(load(folder), new)
        elif start != "nothing":
            now = load(folder)
            assert same(now, new if now.num_tasks == new.num_tasks else old)
        elif how == "failing":
            assert not folder.exists()
        elif folder.exists() and not (folder / "manifest.json").exists():
            with pytest.raises(UserError, match="is missing"):
                load(folder)
            new.save_pretrained(folder)  # what was left there is no hindrance
        if code != UNTOUCHED:
            new.save_pretrained(folder, replace=True)
            assert same(load(folder), new)
        assert only_the_learner(folder)
        if code == UNTOUCHED:
            break
    assert number > 10


# --- readers


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 0])
@pytest.mark.parametrize("start", ["older version", "softtf 0.1"])
def test_who_loads_while_it_is_replaced_gets_the_old_version_or_the_new_one_whole(
    start: str, limit: int | None, smaller: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is replaced just before the k-th file is read, for every k."""
    old, new = smaller
    found = []
    for k in range(1000):
        folder = tmp_path / str(k)
        old.save_pretrained(folder)
        if start == "softtf 0.1":
            as_softtf_0_1_saved_it(folder)
        left = [k]

        def before_reading(name: str, folder: Path = folder, left: list[int] = left) -> None:
            if Path(name).is_relative_to(folder):
                left[0] -= 1
                if left[0] == -1:
                    new.save_pretrained(folder, replace=True)

        with monkeypatch.context() as patch:
            tell_before_reading(patch, before_reading)
            now = load(folder, memory_limit=limit)
        assert same(now, new if now.num_tasks == 2 else old)
        found.append(now.num_tasks)
        if left[0] >= 0:
            break
    assert k > 5 and set(found) == {1, 2} and found[-1] == 1


def tell_before_reading(patch: pytest.MonkeyPatch, tell: Callable[[str], None]) -> None:
    """Call `tell` with the name of each file just before it is read by any of the ways that softtf reads learners."""
    from softtf.files import reading
    from softtf.files import tensors as store

    for module, name, true in ((reading, "open", open), (store, "safe_open", store.safe_open)):

        def told(file: Any, *args: Any, true: Callable[..., Any] = true, **options: Any) -> Any:
            tell(str(file))
            return true(file, *args, **options)

        patch.setattr(module, name, told, raising=False)


@pytest.mark.parametrize("limit", [None, 0])
def test_who_has_loaded_the_old_version_goes_on_with_it(limit: int | None, models: Models, tmp_path: Path) -> None:
    old, new = models
    other = classifier(SOFT_TF, 2)  # other masks in the same files' places
    other.save_pretrained(tmp_path)
    reader, images = load(tmp_path, memory_limit=limit), pictures(6)
    expected = load(tmp_path).predict_proba(images)
    with pytest.warns(UserWarning, match="it is replaced"):
        new.save_pretrained(tmp_path, replace=True)
    assert torch.equal(reader.predict_proba(images), expected)
    reader.learn(task_data(2), config=TRAIN, progress=False)
    with pytest.warns(UserWarning, match="it is replaced"):
        reader.save_pretrained(tmp_path, replace=True)
    assert load(tmp_path).num_tasks == 3


# --- two at a time, and what was left behind


def test_two_do_not_save_to_one_folder_at_a_time(models: Models, tmp_path: Path) -> None:
    tmp_path.joinpath("f").mkdir()
    live = tmp_path / "f" / temporary.temporary_name()
    live.touch()
    with pytest.raises(UserError, match=f"somebody else is saving.*{live.name}"):
        models[0].save_pretrained(tmp_path / "f")
    assert names(tmp_path / "f") == {live.name}
    live.rename(live.with_name(ABANDONED))
    models[0].save_pretrained(tmp_path / "f")
    assert only_the_learner(tmp_path / "f")


def test_a_temporary_file_is_left_alone_while_somebody_may_go_on_with_it(tmp_path: Path) -> None:
    own, dead = tmp_path / temporary.temporary_name(), tmp_path / ABANDONED
    far, plain = tmp_path / ".elsewhere-17-0123456789ab.tmp", tmp_path / "file.tmp"
    before = tmp_path / ".learner.json.tmp"
    for file in (own, dead, far, plain, before):
        file.touch()
    assert [temporary.is_abandoned(f) for f in (own, dead, far, plain, before)] == [False, True, False, False, True]
    for file in (own, far, plain):
        os.utime(file, (time.time() - 2 * temporary.DAY,) * 2)
    assert [temporary.is_abandoned(f) for f in (own, far, plain)] == [True, True, False]
    assert not temporary.is_abandoned(tmp_path / f".{temporary.HOST}-{os.getpid()}-ffffffffffff.tmp")  # gone already
    assert len({temporary.temporary_name() for _ in range(100)}) == 100


@pytest.mark.skipif(not temporary.born(os.getpid()), reason="this system does not say when a process started")
@pytest.mark.parametrize("whose", ["the first process's", "our own"])
def test_a_marker_is_abandoned_if_its_number_is_another_process_now(models: Models, tmp_path: Path, whose: str) -> None:
    pid = os.getpid() if whose == "our own" else 1
    models[0].save_pretrained(tmp_path / "f")
    (tmp_path / "f" / f".{temporary.HOST}-{pid}-01234567-0123456789ab.tmp").touch()
    models[0].save_pretrained(tmp_path / "f", replace=True)
    assert only_the_learner(tmp_path / "f")


def test_a_header_of_a_saved_learner_cannot_pass_for_a_runs(models: Models, tmp_path: Path) -> None:
    """Without its manifest a folder may hold files of two versions: it is not loaded as what the names give."""
    models[1].save_pretrained(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"manifest\.json is missing"):
        load(tmp_path)
    change(tmp_path / "learner.json", format=1)
    with pytest.raises(UserError, match=r"manifest\.json is missing"):
        load(tmp_path)
