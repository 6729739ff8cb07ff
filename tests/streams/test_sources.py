import io

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from softtf.errors import UserError
from softtf.streams import STREAMS, Examples, load_source
from softtf.streams.decode import decode
from softtf.streams.holdout import hold_out


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def png(shade):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path, labels, column="image", label_column="label", **columns):
    images = [{"bytes": png(i), "path": None} for i in range(len(labels))]
    pyarrow.parquet.write_table(pyarrow.table({column: images, label_column: labels, **columns}), path)


def write_images(folder, counts):
    """Folders of images: `counts` maps a class folder to its number of images."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i}.png").write_bytes(png(i))


def test_digits_are_all_there_in_two_fixed_parts():
    from sklearn.datasets import load_digits

    train, test = load_source("digits")
    assert train.classes == test.classes == tuple(range(10))
    assert (len(train), len(test)) == (1438, 359)
    again = load_source("digits")
    assert [part.fingerprint() for part in again] == [train.fingerprint(), test.fingerprint()]
    original = load_digits()
    found = sorted((image.tobytes(), y) for part in (train, test) for image, y in zip(part, part.labels, strict=True))
    scaled = np.rint(original.images * 255 / 16).astype(np.uint8)
    assert found == sorted((image.tobytes(), y) for image, y in zip(scaled, original.target.tolist(), strict=True))
    assert decode(train[0], "").shape == (3, 8, 8)


def test_hold_out_takes_a_fifth_of_every_class():
    labels = ["a"] * 20 + ["b"] * 2 + ["c"] + ["d"] * 7
    train, test = hold_out(Examples(list(range(30)), labels))
    assert [test.labels.count(c) for c in "abcd"] == [4, 1, 0, 1]
    assert sorted([*train, *test]) == list(range(30))
    assert list(train) == sorted(train)
    assert hold_out(Examples([1, 2], "ab"))[1] is None


def test_parquet_shards_with_names(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", [2, 0], name=["x", "y"])
    write_parquet(tmp_path / "train-1.parquet", [1], name=["z"])
    write_parquet(tmp_path / "test-0.parquet", [1, 2], name=["x", "y"])
    (tmp_path / "labels.txt").write_text("wolf\nbear\nape\n")
    train, test = load_source(str(tmp_path))
    assert train.labels == ("ape", "wolf", "bear")
    assert train.classes == ("wolf", "bear", "ape")  # the integers' order, not the alphabet's
    assert test.labels == ("bear", "ape")
    assert test.classes == ("bear", "ape")
    assert torch.equal(decode(train[1], "")[0], torch.ones(4, 4, dtype=torch.uint8))
    assert set(train[0]) == {"bytes", "path"}


def test_parquet_without_names_keeps_integers(tmp_path):
    write_parquet(tmp_path / "train.parquet", [12, 3, 12], column="img", label_column="fine_label")
    write_parquet(tmp_path / "valid.parquet", [3], column="img", label_column="fine_label")
    train, test = load_source(str(tmp_path))
    assert (train.labels, train.classes, test.labels) == ((12, 3, 12), (3, 12), (3,))


def test_parquet_columns_of_raw_bytes_texts_and_any_name(tmp_path):
    table = pyarrow.table({"scan": [png(3)], "class": ["a"], "text": ["note"], "label": [7]})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    pyarrow.parquet.write_table(table, tmp_path / "test.parquet")
    train, _ = load_source(str(tmp_path))
    assert (train[0], train.labels) == ("note", (7,))
    train, _ = load_source(str(tmp_path), image_column="scan", label_column="class")
    assert train.labels == ("a",)
    assert decode(train[0], "")[0, 0, 0] == 3
    with pytest.raises(UserError, match="unknown column.*'clas'; did you mean 'class'"):
        load_source(str(tmp_path), label_column="clas")


def test_parquet_without_a_test_part_holds_one_out(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0] * 5 + [1] * 5)
    train, test = load_source(str(tmp_path))
    assert (len(train), test.classes, len(test)) == (8, (0, 1), 2)
    write_parquet(tmp_path / "background.parquet", [4])
    write_parquet(tmp_path / "evaluation.parquet", [5])
    train, test = load_source(str(tmp_path), split_train="background", split_test="evaluation")
    assert (train.labels, test.labels) == ((4,), (5,))


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (["a", "b"], "wolf\nbear\n", "label 'a' in row 0 of column 'label' must be an integer in 0..1"),
        ([0, 2], "wolf\nbear\n", "label 2 in row 1"),
        ([0, -1], "wolf\nbear\n", "label -1 in row 1"),
        ([0, 1], "wolf\nwolf\n", "'wolf' stands for two labels"),
    ],
)
def test_labels_that_do_not_fit_their_names_are_refused(tmp_path, labels, names, message):
    write_parquet(tmp_path / "train.parquet", labels)
    (tmp_path / "classes.txt").write_text(names)
    with pytest.raises(UserError, match=message):
        load_source(str(tmp_path))


def test_broken_parquet_files_are_named(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", [0, 1])
    whole = (tmp_path / "train-0.parquet").read_bytes()
    for content, message in [(b"", "empty"), (whole[: len(whole) // 2], ""), (b"words, not parquet", "")]:
        (tmp_path / "train-1.parquet").write_bytes(content)
        with pytest.raises(UserError, match=f"train-1.parquet is not a readable parquet file.*{message}") as caught:
            load_source(str(tmp_path))
        assert "\n" not in str(caught.value)
    pyarrow.parquet.write_table(pyarrow.table({"other": [1]}), tmp_path / "train-1.parquet")
    with pytest.raises(UserError, match="cannot read train-0.parquet and similar files"):
        load_source(str(tmp_path))
    with pytest.raises(UserError, match="is named 'learn'"):
        load_source(str(tmp_path), split_train="learn")


def test_image_folders_with_both_splits(tmp_path):
    for split in ("test", "val"):
        root = tmp_path / split / "root"
        write_images(root / "train", {"wolf": 2, "ape/images": 3})
        write_images(root / split, {"ape": 1, "wolf": 1})
        (root / "train" / ".hidden").mkdir()
        (root / "train" / "wolf" / "notes.txt").write_text("passed over")
        train, test = load_source(str(root))
        assert train.labels == ("ape",) * 3 + ("wolf",) * 2
        assert test.labels == ("ape", "wolf")
        assert [decode(train[i], "")[0, 0, 0].item() for i in range(5)] == [0, 1, 2, 0, 1]


def test_image_folders_without_splits_hold_a_part_out(tmp_path):
    write_images(tmp_path, {"wolf": 10, "ape": 5})
    train, test = load_source(str(tmp_path))
    assert [test.labels.count(c) for c in ("ape", "wolf")] == [1, 2]
    assert len(train) == 12
    assert not {str(p) for p in train} & {str(p) for p in test}
    assert load_source(str(tmp_path))[1].fingerprint() == test.fingerprint()


def test_incomplete_image_folders_are_refused(tmp_path):
    empty = tmp_path / "empty"
    (empty / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="train: no parquet files and no class folders"):
        load_source(str(empty))
    (empty / "train" / "train.csv").write_text("text,label\nhello,a\n")
    with pytest.raises(UserError, match=r"it holds 1 \*.csv. Rows are read from one file: .* in a column `split`"):
        load_source(str(empty))
    write_images(empty / "train", {"ape": 1, "wolf": 0})
    with pytest.raises(UserError, match="wolf: this class folder holds no images"):
        load_source(str(empty))
    (empty / "train" / "wolf" / "0.png").write_bytes(b"")
    write_images(empty / "test", {"bear": 1})
    with pytest.raises(UserError, match="class folder 'bear' is not in train/"):
        load_source(str(empty))
    (empty / "test" / "bear").rename(empty / "test" / "ape")
    train, _ = load_source(str(empty))
    with pytest.raises(UserError, match=r"wolf/0.png.*empty"):
        decode(train[1], train.where(1))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/no/such/place", "no folder '/no/such/place'"),
        ("./gone", "no folder './gone'"),
        ("", "no folder ''"),
        ("cifr100", "did you mean 'cifar100'"),
    ],
)
def test_sources_that_are_not_there_are_refused(source, message):
    with pytest.raises(UserError, match=message):
        load_source(source)


def test_a_file_that_is_no_table_is_no_source(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match="a.png' is a file; give .csv, .*, or the folder of the data"):
        load_source(str(tmp_path / "a.png"))


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the Hub: data sets by name, as the real ones are laid out."""
    shelves = {}

    def load_dataset(name, trust_remote_code):
        assert trust_remote_code is False
        if name not in shelves:
            raise ConnectionError(f"Couldn't reach '{name}'\non the Hub")
        return shelves[name]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return shelves


def table(labels, image="image", label="label", names=None):
    label_type = datasets.ClassLabel(names=names) if names else datasets.Value("string")
    features = datasets.Features({image: datasets.Image(), label: label_type})
    images = [Image.new("RGB", (4, 4)) for _ in labels]
    return datasets.Dataset.from_dict({image: images, label: labels}, features)


def test_known_names_use_their_columns_and_splits(hub):
    names = ["wolf", "ape"]
    cifar = table([1, 0], "img", "fine_label", names).add_column("coarse_label", [0, 0])
    hub["uoft-cs/cifar100"] = datasets.DatasetDict(train=cifar, test=cifar)
    train, test = load_source("cifar100")
    assert (train.labels, train.classes) == (("ape", "wolf"), ("wolf", "ape"))
    assert set(test[0]) == {"bytes", "path"}
    tiny = table([0, 1], names=names)
    hub["zh-plus/tiny-imagenet"] = datasets.DatasetDict(train=tiny, valid=tiny.select([0]))
    assert [len(part) for part in load_source("tiny-imagenet")] == [2, 1]
    hub["axiong/imagenet-r"] = datasets.DatasetDict(test=table(["n01"] * 5 + ["n02"] * 5, label="wnid"))
    train, test = load_source("imagenet-r")
    assert [len(part) for part in (train, test)] == [8, 2]
    assert test.classes == ("n01", "n02")


def test_text_sets_on_the_hub_have_texts_of_all_their_columns_and_stars_of_one_name(hub):
    reviews = datasets.Dataset.from_dict({"text": ["bad", "good"], "label": [0, 4], "label_text": ["0", "4"]})
    hub["SetFit/amazon_reviews_multi_en"] = datasets.DatasetDict(train=reviews, test=reviews)
    questions = {"question_title": ["why", "how"], "question_content": ["", "so"], "best_answer": ["because", "thus"]}
    topics = datasets.ClassLabel(names=["Society", "Science"])
    asked = datasets.Dataset.from_dict(questions | {"topic": [1, 0], "id": [7, 8]}).cast_column("topic", topics)
    hub["community-datasets/yahoo_answers_topics"] = datasets.DatasetDict(train=asked, test=asked)
    train, _ = load_source("amazon")
    assert (list(train), train.labels) == (["bad", "good"], ("very negative", "very positive"))
    train, test = load_source("yahoo")
    assert list(train) == ["why\nbecause", "how\nso\nthus"] and test.labels == ("Science", "Society")
    with pytest.raises(UserError, match="unknown column of yahoo train 'best'; did you mean 'best_answer'"):
        load_source("yahoo", image_column="question_title+best")


def test_other_names_on_the_hub(hub):
    hub["me/birds"] = datasets.DatasetDict(train=table([0, 1], names=["a", "b"]), test=table([1], names=["a", "b"]))
    train, test = load_source("me/birds")
    assert (train.labels, test.labels) == (("a", "b"), ("b",))
    with pytest.raises(UserError, match="unknown test split of me/birds 'tests'; did you mean 'test'"):
        load_source("me/birds", split_test="tests")
    with pytest.raises(UserError, match="unknown split of me/birds 'learn'"):
        load_source("me/birds", split_train="learn")


def test_splits_of_the_hub_are_known_by_their_usual_names_and_said(hub):
    rows = table([0, 1], names=["a", "b"])
    hub["me/birds"] = datasets.DatasetDict(Train=rows, validation=rows, extra=rows)
    said = []
    train, test = load_source("me/birds", say=said.append)
    assert (train.name, test.name) == ("me/birds Train", "me/birds validation")
    assert said == ["me/birds: learns from Train (2), tests on validation (2); extra is not read"]


def test_a_folder_named_as_a_set_of_the_hub_is_not_read_in_its_place(hub, tmp_path, monkeypatch):
    (tmp_path / "uoft-cs" / "cifar100").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="uoft-cs/cifar100 is a folder here"):
        load_source("cifar100")


def test_a_hub_out_of_reach_is_one_line_with_a_way_out(hub):
    for source in ("me/gone", "cifar100"):
        with pytest.raises(UserError, match="Hub could not be reached.*local folder") as caught:
            load_source(source)
        assert "\n" not in str(caught.value)


def test_the_registry_is_complete():
    texts = {"docstrings", "agnews", "yelp", "amazon", "dbpedia", "yahoo"}
    assert set(STREAMS) == {"digits", "cifar100", "tiny-imagenet", "imagenet-r", "cub200"} | texts
    for info in STREAMS.values():
        assert info.num_classes % info.num_tasks == 0
