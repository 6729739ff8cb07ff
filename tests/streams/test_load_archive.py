"""Archives are read as the folders that were packed are, image by image; what is unsafe in them is refused."""

import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from softtf.errors import UserError
from softtf.streams import archive, load_source, unlabelled
from softtf.streams.examples import Examples
from softtf.streams.sources import read_source

FILES = {"robin/1.png": 1, "robin/2.png": 2, "wren/1.png": 3, "wren/3.jpg": 4}


def picture(seed: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def contents(names: dict[str, int]) -> dict[str, bytes]:
    return {name: picture(seed, "JPEG" if name.endswith("jpg") else "PNG") for name, seed in names.items()}


def pack(file: Path, files: dict[str, bytes], mode: int = zipfile.ZIP_DEFLATED) -> Path:
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w", mode) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(str(file), "w" if file.suffix == ".tar" else "w:gz") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return file


def read(examples: Examples | None) -> list[tuple[bytes, object]]:
    assert examples is not None
    return [(examples[i]["bytes"], examples.labels[i]) for i in range(len(examples))]


@pytest.mark.parametrize("kind", archive.ARCHIVES)
def test_class_folders_are_read_as_on_disk(kind: str, tmp_path: Path) -> None:
    """Also with one folder around them, and with what systems leave."""
    plain = contents(FILES)
    for name, data in plain.items():
        (tmp_path / "birds" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "birds" / name).write_bytes(data)
    on_disk, _ = read_source(str(tmp_path / "birds"))
    expected = [(Path(on_disk[i]).read_bytes(), label) for i, label in enumerate(on_disk.labels)]
    litter = {"__MACOSX/robin/1.png": b"", ".DS_Store": b"", "robin/notes.txt": b"x"}
    for place, files in enumerate((plain, {f"birds/{n}": d for n, d in plain.items()}, plain | litter)):
        found, test = read_source(str(pack(tmp_path / f"{place}{kind}", files)))
        assert read(found) == expected and test is None and found.classes == ("robin", "wren")
        again = pickle.loads(pickle.dumps(found))
        assert read(again) == expected
        assert found.sizes().tolist() == [len(data) for data, _ in expected]  # type: ignore[union-attr]
    train, test = load_source(str(tmp_path / f"0{kind}"))
    assert len(train) == 2 and len(read(test)) == 2


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_folders_of_splits_are_splits(kind: str, tmp_path: Path) -> None:
    files = contents({f"{split}/{name}": seed for split in ("train", "val", "more") for name, seed in FILES.items()})
    file, said = pack(tmp_path / f"birds{kind}", files), list[str]()
    train, test = load_source(str(file), say=said.append)
    assert train.name.endswith("/train") and test is not None and test.name.endswith("/val") and len(train) == 4
    assert said == [f"birds{kind}: learns from train/ (4), tests on val/ (4); more/ is not read"]
    with pytest.raises(UserError, match="unknown folder in .* 'learn'"):
        load_source(str(file), split_train="learn")


def test_a_webdataset_has_its_labels_beside_the_images(tmp_path: Path) -> None:
    files = contents({"a/0001.png": 1, "a/0002.jpg": 2})
    file = pack(tmp_path / "s.tar", files | {"a/0001.cls": b"7\n", "a/0002.cls": b"3", "a/0002.json": b"{}"})
    found, _ = read_source(str(file))
    assert found.labels == (7, 3) and read(found)[0][0] == files["a/0001.png"]
    for more, words in (
        ({"a/0003.png": picture(3)}, "there is no a/0003.cls"),
        ({"a/0001.seg.png": picture(3)}, "several images are called 'a/0001'"),
        ({"a/0001.cls": b"\xff"}, "holds no text in UTF-8"),
    ):
        with pytest.raises(UserError, match=words):
            read_source(str(pack(tmp_path / "wrong.tar", files | {"a/0001.cls": b"1", "a/0002.cls": b"1"} | more)))


def a_link(file: Path) -> None:
    if file.suffix == ".zip":
        info = zipfile.ZipInfo("robin/link.png")
        info.external_attr = 0o120777 << 16
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(info, "/etc/passwd")
    else:
        with tarfile.open(file, "a") as archive:
            info = tarfile.TarInfo("robin/link.png")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)


def named(name: str) -> Callable[[Path], None]:
    def add(file: Path) -> None:
        pack(file, contents(FILES) | {name: b"x"})

    return add


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: -11000 if file.suffix == ".tar" else -30])


UNSAFE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link": (a_link, "is a link"),
    "a name above": (named("../outside.png"), "leads outside the archive"),
    "a name above, further down": (named("robin/../../x.png"), "leads outside the archive"),
    "a full path": (named("/etc/x.png"), "leads outside the archive"),
    "a drive": (named("C:\\x.png"), "leads outside the archive"),
    "cut": (cut, "not a readable|ends in the middle"),
    "noise": (lambda file: file.write_bytes(bytes(range(256)) * 50) and None, "is not a readable"),
    "nothing": (lambda file: file.write_bytes(b"") and None, "is not a readable"),
    "no images": (lambda file: pack(file, {"robin/a.txt": b"x"}) and None, "holds no images"),
    "no folders": (lambda file: pack(file, contents({"1.png": 1})) and None, "one folder a class"),
    "too deep": (lambda file: pack(file, contents({"a/b/c/1.png": 1, "b/1.png": 1})) and None, "one folder a class"),
}


@pytest.mark.parametrize("kind", [".zip", ".tar"])
@pytest.mark.parametrize("how", UNSAFE)
def test_unsafe_archives_are_refused_in_one_line(how: str, kind: str, tmp_path: Path) -> None:
    file = pack(tmp_path / f"birds{kind}", contents(FILES))
    change, words = UNSAFE[how]
    change(file)
    with pytest.raises(UserError, match=words) as error:
        read_source(str(file))
    assert "\n" not in str(error.value) and {path.name for path in tmp_path.iterdir()} == {file.name}


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = pack(tmp_path / "bomb.zip", {f"a/{i}.bmp": bytes(2**20) for i in range(8)})
    monkeypatch.setattr(archive, "LARGEST", 2**20)
    with pytest.raises(UserError, match="more than 200 times its own bytes"):
        read_source(str(bomb))
    monkeypatch.setattr(archive, "MOST", 3)
    for kind in (".zip", ".tar"):
        with pytest.raises(UserError, match="more than 3 members"):
            read_source(str(pack(tmp_path / f"many{kind}", contents(FILES))))
    lying = tmp_path / "header.tar"
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**33
    lying.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(UserError, match="a header of the tar has 8,589,934,592 bytes"):
        read_source(str(lying))


def test_a_zip_that_is_damaged_or_packed_oddly_is_refused(tmp_path: Path) -> None:
    file = pack(tmp_path / "a.zip", contents(FILES))
    found, _ = read_source(str(file))
    data = bytearray(file.read_bytes())
    place = data.index(picture(1)[:8]) if picture(1)[:8] in data else 60
    data[place : place + 4] = b"\0\0\0\0"
    file.write_bytes(data)
    with pytest.raises(UserError, match="not a readable|has not the"):
        [found[i] for i in range(4)]
    with pytest.raises(UserError, match="packed in a rare way"):
        read_source(str(pack(tmp_path / "b.zip", contents(FILES), zipfile.ZIP_LZMA)))


@pytest.mark.parametrize("change", [-1, 1, 2**20])
def test_a_size_in_a_zip_that_is_not_an_images_own_is_refused(change: int, tmp_path: Path) -> None:
    """In its directory, which is what bounds the bytes that are read."""
    file = pack(tmp_path / "a.zip", contents(FILES))
    data = bytearray(file.read_bytes())
    size = data.index(b"PK\x01\x02") + 24  # of the first entry of the directory
    own = int.from_bytes(data[size : size + 4], "little")
    data[size : size + 4] = (own + change).to_bytes(4, "little")
    file.write_bytes(data)
    found, _ = read_source(str(file))
    with pytest.raises(UserError, match="not a readable|has not the"):
        found[0]
    assert found[1]["bytes"] == picture(FILES["robin/2.png"])


def test_a_compressed_tar_has_a_limit_and_another_compression_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack(tmp_path / "a.tar.gz", contents(FILES))
    (tmp_path / "b.tar.gz").write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"b.tar.gz is not a readable .tar.gz file: Compressed file ended"):
        read_source(str(tmp_path / "b.tar.gz"))
    monkeypatch.setattr(archive, "LARGEST", 2**10)
    with pytest.raises(UserError, match="more than 1,024 bytes unpacked; unpack it once by gunzip"):
        read_source(str(packed))
    (tmp_path / "a.tar.xz").write_bytes(b"x")
    with pytest.raises(UserError, match=r"is a file; give .csv, .tsv, .jsonl, .parquet, .zip, .tar, .tar.gz"):
        read_source(str(tmp_path / "a.tar.xz"))


@pytest.mark.parametrize("kind", archive.ARCHIVES)
def test_inputs_without_labels_are_the_images_of_an_archive(kind: str, tmp_path: Path) -> None:
    """By their names, also outside of class folders, and also in another process."""
    plain = contents(FILES) | {"alone.png": picture(9)}
    found = pickle.loads(pickle.dumps(unlabelled(str(pack(tmp_path / f"a{kind}", plain)), folders=True)))
    assert [found[i]["bytes"] for i in range(len(found))] == [plain[name] for name in sorted(plain)]
