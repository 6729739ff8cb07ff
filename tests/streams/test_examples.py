import hashlib

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from softtf.errors import UserError
from softtf.streams import Examples, examples_from


class Counting(list):
    """Rows that note which of them are read."""

    def __init__(self, rows):
        super().__init__(rows)
        self.read = []

    def __getitem__(self, index):
        self.read.append(index)
        return super().__getitem__(index)


def letters(labels, **options):
    return Examples([f"row {i}" for i in range(len(labels))], labels, **options)


def test_rows_are_read_only_when_asked_for():
    rows = Counting("abcdef")
    examples = Examples(rows, [0, 1] * 3)
    view = examples.select([5, 1, 3]).per_class(2, seed=0).with_labels("xy")
    assert rows.read == []
    assert view[0] in "bdf"
    assert len(rows.read) == 1


def test_labels_become_python_values_and_classes_are_sorted():
    examples = Examples(np.zeros((4, 2, 2)), np.array([10, 2, 10, 1]))
    assert examples.labels == (10, 2, 10, 1)
    assert all(type(label) is int for label in examples.labels)
    assert examples.classes == (1, 2, 10)
    assert Examples(np.zeros((2, 2, 2)), torch.tensor([7, 3])).classes == (3, 7)
    assert letters(["b", 1, "a", 1]).classes == ("b", 1, "a")  # no order among kinds: first seen


def test_class_order_is_followed_and_kept_by_views():
    examples = letters(["b", "a", "c", "b"], class_order=["c", "b", "a"])
    assert examples.classes == ("c", "b", "a")
    assert examples.select([1, 2]).classes == ("c", "a")
    assert examples.per_class(1, 0).classes == ("c", "b", "a")
    assert Examples.concatenate([examples.select([0]), examples.select([2])]).classes == ("c", "b")
    assert examples.with_labels("zyxw").classes == tuple("wxyz")


def test_select_of_select_reads_the_original_rows():
    examples = letters(range(6), name="six")
    view = examples.select([5, 4, 0]).select([2, 0])
    assert list(view) == ["row 0", "row 5"]
    assert view.labels == (0, 5)
    assert view.where(1) == "six[5]"
    assert view[-1] == "row 5"
    with pytest.raises(IndexError):
        view[2]


def test_per_class_takes_at_most_n_of_each_in_order():
    labels = [0] * 10 + [1] * 2 + [0] * 10 + [2]
    examples = letters(labels)
    few, more = examples.per_class(3, seed=1), examples.per_class(5, seed=1)
    assert [few.labels.count(c) for c in (0, 1, 2)] == [3, 2, 1]
    numbers = [int(row.split()[1]) for row in few]
    assert numbers == sorted(numbers)
    assert [labels[i] for i in numbers] == list(few.labels)
    assert set(few) <= set(more)
    assert list(few) == list(examples.per_class(3, seed=1))
    assert len({tuple(examples.per_class(3, seed=s)) for s in range(8)}) > 1
    assert examples.per_class(None, seed=1) is examples


@pytest.mark.parametrize(("total", "counts"), [(115, [29, 29, 29, 28]), (8, [2] * 4), (2, [1] * 4), (999, [40] * 4)])
def test_evenly_takes_a_total_in_even_shares(total, counts):
    examples = letters([i % 4 for i in range(160)])
    found = examples.evenly(total, seed=1)
    assert [found.labels.count(c) for c in range(4)] == counts
    alone = [set(examples.per_class(count, seed=1)) for count in counts]
    assert all(row in alone[label] for row, label in zip(found, found.labels, strict=True))
    assert examples.evenly(None, seed=1) is examples


def test_a_class_with_less_than_its_share_gives_what_it_has():
    found = letters([0] * 50 + [1] * 3 + [2] * 50).evenly(30, seed=0)
    assert [found.labels.count(c) for c in range(3)] == [10, 3, 10]


def test_concatenate_is_one_after_another():
    parts = [letters("ab", name="p"), letters("c", name="q"), letters("de", name="p")]
    whole = Examples.concatenate(parts)
    assert list(whole) == [row for part in parts for row in part]
    assert whole.labels == tuple("abcde")
    assert whole.name == "p+q"
    assert list(whole.select([4, 2])) == ["row 1", "row 0"]


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([1, 2], [0], "2 inputs but 1 labels"),
        ([], [], "no examples"),
        ([1, 2], [[0], [1]], "example 0 is not one hashable"),
        ([1, 2], np.eye(2), "example 0 is not one hashable"),
        ([1, 2], torch.eye(2), "example 0 is not one hashable"),
        ([1, 2], [0, None], "example 1 is missing"),
        ([1, 2], np.array([0.0, np.nan]), "example 1 is missing"),
    ],
)
def test_wrong_rows_or_labels_are_refused_by_name(rows, labels, message):
    with pytest.raises(UserError, match=f"^birds: .*{message}"):
        Examples(rows, labels, "birds")


def test_pandas_rows_are_read_by_their_place():
    series = pd.Series(["a", "b", "c", "d"], index=[3, 1, 0, 2])
    for rows, labels in ((series, series), (series[series != "b"], ["a", "c", "d"])):
        found = Examples(rows, labels)
        assert [found[i] for i in range(len(found))] == list(found.labels) == list(labels)


def test_inputs_without_order_are_refused():
    with pytest.raises(UserError, match="a set of inputs has no order"):
        Examples({"a", "b"}, ["a", "b"])


def test_wrong_views_are_refused():
    examples = letters("abc", name="birds")
    for action, message in [
        (lambda: examples.select([]), "no examples"),
        (lambda: examples.select([3]), "index 3 is not in 0..2"),
        (lambda: examples.select([-1]), "index -1"),
        (lambda: examples.per_class(0, 0), "at least 1, not 0"),
        (lambda: examples.evenly(0, 0), "at least 1, not 0"),
        (lambda: examples.with_labels("ab"), "3 inputs but 2 labels"),
        (lambda: letters("ab", name="birds", class_order="a"), "'b' is not in the class order"),
    ]:
        with pytest.raises(UserError, match=f"birds.*{message}"):
            action()
    with pytest.raises(UserError, match="at least one"):
        Examples.concatenate([])


def every_kind(folder, shade):
    """The same list of raw inputs, each of which changes with `shade`."""
    array = np.full((2, 3), shade, np.uint8)
    path = folder / f"{shade}.png"
    Image.fromarray(array).save(path)
    palette = Image.fromarray(array).convert("P")
    return [
        array,
        torch.from_numpy(array),
        torch.full((2, 2), shade, dtype=torch.bfloat16),
        Image.fromarray(array),
        palette,
        path,
        str(path),
        {"bytes": path.read_bytes(), "path": None},
        {"bytes": None, "path": str(path)},
        f"text {shade}",
    ]


def test_fingerprint_changes_with_any_content_label_or_order(tmp_path):
    plain, other = every_kind(tmp_path, 1), every_kind(tmp_path, 2)
    labels = list(range(len(plain)))
    variants = [Examples(plain, labels), Examples(plain, [str(x) for x in labels])]
    for i in range(len(plain)):
        variants.append(Examples(plain[:i] + [other[i]] + plain[i + 1 :], labels))
        variants.append(Examples(plain, labels[:i] + [99] + labels[i + 1 :]))
    variants.append(Examples(plain, labels).select(labels[::-1]))
    assert len({examples.fingerprint() for examples in variants}) == len(variants)
    assert Examples(every_kind(tmp_path, 1), labels, "renamed").fingerprint() == variants[0].fingerprint()


@pytest.mark.parametrize("mode", ["P", "PA"])
def test_fingerprint_sees_the_colours_of_a_palette(mode: str) -> None:
    images = [Image.new("P", (4, 4)) for _ in range(2)]
    for image, first in zip(images, (10, 20), strict=True):
        image.putpalette([first] * 3)
    assert len({Examples([image.convert(mode)], ["a"]).fingerprint() for image in images}) == 2


def test_fingerprint_without_labels_sees_the_inputs_only(tmp_path):
    plain, other = every_kind(tmp_path, 1), every_kind(tmp_path, 2)
    labels = list(range(len(plain)))
    found = Examples(plain, labels).fingerprint(labels=False)
    assert Examples(plain, labels[::-1]).fingerprint(labels=False) == found != Examples(plain, labels).fingerprint()
    for i in range(len(plain)):
        assert Examples(plain[:i] + [other[i]] + plain[i + 1 :], labels).fingerprint(labels=False) != found
    assert Examples(plain, labels).select(labels[::-1]).fingerprint(labels=False) != found


def test_fingerprint_sees_how_a_picture_is_to_be_turned():
    image, turned = (Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3)) for _ in range(2))
    turned.getexif()[0x0112] = 6
    assert len({Examples([x], [0]).fingerprint() for x in (image, turned)}) == 2


def test_fingerprint_sees_where_one_row_ends_and_the_content_of_files(tmp_path):
    assert Examples(["ab", "c"], [0, 0]).fingerprint() != Examples(["a", "bc"], [0, 0]).fingerprint()
    shapes = [Examples([np.zeros(shape, np.uint8)], [0]).fingerprint() for shape in ((2, 3), (3, 2))]
    assert shapes[0] != shapes[1]
    for path in (tmp_path / "file", str(tmp_path / "file")):
        prints = []
        for content in (b"one", b"two"):
            (tmp_path / "file").write_bytes(content)
            prints.append(Examples([path], [0]).fingerprint())
        assert prints[0] != prints[1]
    with pytest.raises(UserError, match="gone"):
        Examples([tmp_path / "gone"], [0]).fingerprint()
    assert len(prints[0]) == len(hashlib.sha256().hexdigest())


def test_examples_from_every_kind_of_data():
    rows, labels = ["r", "s", "t"], ["x", "y", "x"]
    table = datasets.Dataset.from_dict({"text": rows, "label": labels})
    pairs = list(zip(rows, labels, strict=True))
    for data in [(rows, labels), (tuple(rows), np.array(labels)), pairs, table, Examples(rows, labels)]:
        examples = examples_from(data, "kinds")
        assert list(examples) == rows
        assert examples.labels == tuple(labels)
    tensors = torch.utils.data.TensorDataset(torch.arange(12).view(3, 2, 2), torch.tensor([4, 5, 4]))
    examples = examples_from(tensors)
    assert examples.labels == (4, 5, 4)
    assert torch.equal(examples[1], torch.arange(4, 8).view(2, 2))


def test_image_columns_of_a_dataset_stay_undecoded():
    images = [Image.new("RGB", (4, 4), (10 * i, 0, 0)) for i in range(3)]
    features = datasets.Features(
        {
            "img": datasets.Image(),
            "note": datasets.Value("string"),
            "fine_label": datasets.ClassLabel(names="abc"),
        }
    )
    table = datasets.Dataset.from_dict({"img": images, "note": ["", "", ""], "fine_label": [2, 0, 2]}, features)
    examples = examples_from(table.with_format("torch"), "hub")
    assert set(examples[0]) == {"bytes", "path"}
    assert examples[0]["bytes"].startswith(b"\x89PNG")
    assert examples.labels == ("c", "a", "c")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a"], "stars": [1]}, "no label column"),
        ({"words": ["a"], "label": [1]}, "no input column"),
        (
            {"text": ["a"], "sentence": ["b"], "label": [1]},
            r"several could be the input column \(text, sentence\)",
        ),
        ({"text": ["a"], "label": [None]}, "example 0 is missing"),
    ],
)
def test_unclear_columns_are_refused(columns, message):
    with pytest.raises(UserError, match=message):
        examples_from(datasets.Dataset.from_dict(columns), "hub")


def test_data_of_no_known_kind_are_refused():
    table = datasets.Dataset.from_dict({"text": ["a"], "label": [1]})
    for data, message in [
        (5, "cannot read examples from int"),
        ({"a": 1}, "cannot read examples from dict"),
        (["ab", "c"], r"bad\[0\]: expected an \(input, label\) pair"),
        (
            datasets.DatasetDict(first=table, second=table),
            "none of the splits first, second is called train; give one of them",
        ),
        (table.with_transform(lambda rows: rows), "has a transform"),
    ]:
        with pytest.raises(UserError, match=message):
            examples_from(data, "bad")
