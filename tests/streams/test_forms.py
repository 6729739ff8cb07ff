"""Whatever `learn` takes, `predict` takes; and what could mean two things is decided by one rule or refused."""

import datetime
import decimal
import enum
import io
from pathlib import Path

import datasets
import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from torch import Tensor

from softtf.errors import UserError
from softtf.streams import Examples, examples_from, unlabelled
from softtf.streams.decode import decode

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
GREY = IMAGES[..., 0]
LABELS = ["b", "a", "b"]


def png(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def shown(examples: Examples) -> Tensor:
    """All images, decoded."""
    return torch.stack([decode(examples[i], examples.where(i)) for i in range(len(examples))])


def hub(**label) -> datasets.Dataset:
    features = datasets.Features({"image": datasets.Image(), **label})
    rows = {"image": [{"bytes": png(i), "path": None} for i in IMAGES], **dict.fromkeys(label, [1, 0, 1])}
    return datasets.Dataset.from_dict(rows, features=features)


def arrays() -> datasets.Dataset:
    features = datasets.Features({"image": datasets.Array3D((6, 8, 3), "uint8")})
    return datasets.Dataset.from_dict({"image": list(IMAGES)}, features=features)


def several(folder: Path) -> dict[str, object]:
    """Three colour images in every form without labels."""
    files = []
    for i, image in enumerate(IMAGES):
        files.append(folder / f"{i}.png")
        files[-1].write_bytes(png(image))
    objects = np.empty(3, dtype=object)
    objects[:] = files
    tensor = torch.from_numpy(IMAGES)
    return {
        "paths": files,
        "strings": [str(f) for f in files],
        "an array of strings": np.array([str(f) for f in files]),
        "an array of objects": objects,
        "a Series": pandas.Series(files, index=[7, 8, 9]),
        "a tuple": tuple(files),
        "bytes": [png(i) for i in IMAGES],
        "bytearrays": [bytearray(png(i)) for i in IMAGES],
        "dicts": [{"bytes": png(i), "path": None} for i in IMAGES],
        "PIL images": [Image.fromarray(i) for i in IMAGES],
        "arrays": list(IMAGES),
        "floats": list(IMAGES / 255),
        "CHW arrays": list(IMAGES.transpose(0, 3, 1, 2)),
        "one array": IMAGES,
        "one CHW array": IMAGES.transpose(0, 3, 1, 2),
        "one tensor": tensor,
        "one CHW tensor": tensor.permute(0, 3, 1, 2),
        "one CHW float tensor": tensor.permute(0, 3, 1, 2) / 255,
        "a hub column": hub()["image"],
        "a hub column with a format": hub().with_format("torch")["image"],
        "a hub table": hub(),
        **{f"a hub table in {form}": hub().with_format(form) for form in ("arrow", "pandas", "polars")},
        **{f"arrays in {form}": arrays().with_format(form) for form in (None, "numpy", "torch", "arrow", "pandas")},
        "a table of bytes": datasets.Dataset.from_dict({"file": [png(i) for i in IMAGES]}).with_format("numpy"),
        "a DataFrame": pandas.DataFrame({"file": [png(i) for i in IMAGES]}),
    }


def test_every_form_of_several_inputs_is_the_same_with_labels_and_without(tmp_path: Path) -> None:
    expected = shown(Examples(IMAGES, LABELS))
    for form, inputs in several(tmp_path).items():
        assert torch.equal(shown(unlabelled(inputs)), expected), form
        learned = examples_from((inputs, LABELS))
        assert torch.equal(shown(learned), expected) and learned.labels == tuple(LABELS), form
        assert torch.equal(shown(unlabelled((inputs, LABELS))), expected), form
    pairs = list(zip(IMAGES, LABELS, strict=True))
    for data in (
        pairs,
        hub(label=datasets.Value("string")),
        pandas.DataFrame({"image": [png(i) for i in IMAGES], "label": LABELS}),
        Examples(IMAGES, LABELS),
    ):
        assert torch.equal(shown(examples_from(data)), expected)
        assert torch.equal(shown(unlabelled(data)), expected)
    assert torch.equal(shown(unlabelled(pandas.DataFrame({"file": [png(i) for i in IMAGES]}))), expected)


def test_every_form_of_one_input_is_a_list_of_one(tmp_path: Path) -> None:
    image, tensor = IMAGES[0], torch.from_numpy(IMAGES[0])
    file = tmp_path / "0.png"
    file.write_bytes(png(image))
    colour = [image, tensor, tensor.permute(2, 0, 1), file, str(file), png(image), bytearray(png(image)), image / 255]
    colour += [Image.fromarray(image), {"bytes": png(image)}, {"path": str(file), "bytes": None}]
    grey = [GREY[0], GREY[0][None], GREY[0][..., None], torch.from_numpy(GREY[0])[None], torch.from_numpy(GREY[0])]
    for forms, expected in ((colour, IMAGES[:1]), (grey, GREY[:1])):
        for one in forms:
            found = shown(unlabelled(one))
            assert torch.equal(found, shown(Examples(expected, [0])))
            assert torch.equal(shown(unlabelled([one])), found)
            assert torch.equal(shown(examples_from((one, ["a"]))), found)


def test_every_form_of_texts_is_the_same() -> None:
    texts = ["a bee", "an ant"]
    table = datasets.Dataset.from_dict({"text": texts, "label": [0, 1]})
    frame = pandas.DataFrame({"text": texts, "label": ["x", "y"]}, index=[5, 3])
    forms = [texts, tuple(texts), np.array(texts), np.array(texts, dtype=object), pandas.Series(texts, index=[4, 2])]
    forms += [
        table,
        table["text"],
        frame,
        frame["text"],
        frame[["text"]],
        (texts, [0, 1]),
        (frame[["text"]], [0, 1]),
        (frame[["text"]], frame[["label"]]),
        (table.select_columns("text"), table.select_columns("label")),
        list(zip(texts, "xy", strict=True)),
        [list(pair) for pair in zip(texts, "xy", strict=True)],
    ]
    forms += [table.with_format(form) for form in ("numpy", "torch", "arrow", "pandas", "polars")]
    for form in forms:
        assert list(unlabelled(form)) == texts
    assert list(unlabelled(texts[0])) == texts[:1]
    for form in (
        table,
        frame,
        (table["text"], table["label"]),
        (frame["text"], frame["label"]),
        (frame[["text"]], frame[["label"]]),
        (table.select_columns("text").rename_column("text", "words"), table.select_columns("label")),
        (frame, frame["label"]),
        *(table.with_format(form) for form in ("numpy", "torch", "arrow", "pandas", "polars")),
        list(zip(texts, "xy", strict=True)),
        [list(pair) for pair in zip(texts, "xy", strict=True)],
    ):
        assert list(examples_from(form)) == texts and len(set(examples_from(form).labels)) == 2


def test_labels_decide_and_what_nothing_decides_is_refused() -> None:
    grey = shown(Examples(GREY, LABELS))
    assert torch.equal(shown(examples_from((GREY, LABELS))), grey)
    assert torch.equal(shown(examples_from((torch.from_numpy(GREY), LABELS))), grey)
    assert torch.equal(shown(unlabelled((GREY, LABELS))), grey)
    assert len(unlabelled((GREY[0], GREY[1]))) == 2 and len(unlabelled(("a text", "b text"))) == 2
    assert len(unlabelled((IMAGES[0].transpose(2, 0, 1), IMAGES[1].transpose(2, 0, 1)))) == 2
    with pytest.raises(UserError, match=r"shape \[3, 6, 8\] could be one image \[c, h, w\] or 3 grey ones"):
        unlabelled(GREY)
    assert len(unlabelled(GREY[:2])) == 2 and len(unlabelled(torch.from_numpy(GREY))) == 1


def frames():
    yield from IMAGES


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (io.BytesIO(b""), r"BytesIO is an open file; give its path, or its bytes by .read\(\)"),
        ({"a", "b"}, "a set is neither an input.*give a list"),
        (None, "a NoneType is neither an input"),
        (3, "a int is neither an input"),
        (np.zeros(4), r"shape \[4\] holds no images"),
        (torch.zeros(()), r"shape \[\] holds no images"),
        (np.array([["a"], ["b"]]), "strings or objects has one axis, not 2"),
        (torch.utils.data.DataLoader([1, 2], sampler=[1, 1]), "list draws examples.*give its .dataset"),
        (hub().with_transform(lambda rows: rows), "has a transform"),
        (
            datasets.DatasetDict({"one": hub(), "two": hub()}),
            r"none of the splits one, two is called test; give.*data\['one'\]",
        ),
        (pandas.DataFrame({"x": [1], "y": [2]}), "no input column.*Columns: x, y"),
        (pandas.DataFrame({"text": ["a", None]}), "row 1 has nothing in column 'text'"),
    ],
)
def test_what_is_no_input_is_refused_with_the_nearest_form(data, words) -> None:
    with pytest.raises(UserError, match=words) as caught:
        unlabelled(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((frames(), LABELS[:2]), "3 inputs but 2 labels"),
        ((IMAGES, "bab"), "list or an array of labels, not str"),
        ((IMAGES, 3), "list or an array of labels, not int"),
        ((IMAGES[0], "b"), "list or an array of labels, not str"),
        ((IMAGES, LABELS[:2]), "3 inputs but 2 labels"),
        ({"image": IMAGES, "label": LABELS}, "from dict; give .*DataFrame"),
        (pandas.DataFrame({"text": ["a"]}), "no label column"),
    ],
)
def test_what_has_no_labels_is_refused(data, words) -> None:
    with pytest.raises(UserError, match=words):
        examples_from(data)
    assert examples_from((IMAGES, (label for label in LABELS))).labels == tuple(LABELS)


def test_class_labels_are_learned_by_their_names() -> None:
    """Two data sets number their classes 0 and 1 alike."""
    birds, cars = (datasets.ClassLabel(names=names) for names in (["wren", "owl"], ["van", "bus"]))
    data = hub(label=birds)
    assert examples_from(data).labels == ("owl", "wren", "owl") and examples_from(data).classes == ("wren", "owl")
    assert examples_from((data["image"], data["label"])).labels == ("owl", "wren", "owl")
    assert not set(examples_from(data).classes) & set(examples_from(hub(label=cars)).classes)
    assert examples_from(hub(label=datasets.Value("int64"))).labels == (1, 0, 1)
    unknown = datasets.Dataset.from_dict(
        {"text": ["a"], "label": [-1]}, features=datasets.Features({"text": datasets.Value("string"), "label": birds})
    )
    with pytest.raises(UserError, match="label -1 in row 0 of column 'label' must be an integer in 0..1"):
        examples_from(unknown)


# --- Labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "missing",
    [None, float("nan"), np.float32("nan"), pandas.NA, pandas.NaT, np.datetime64("NaT"), torch.tensor(float("nan"))]
    + [decimal.Decimal("NaN"), np.ma.masked, np.timedelta64("NaT", "ns")],
)
def test_a_missing_label_is_refused_by_its_row(missing) -> None:
    with pytest.raises(UserError, match="birds: the label of example 2 is missing"):
        Examples(["x", "y", "z"], ["a", "b", missing], "birds")


def test_missing_labels_of_pandas_are_refused() -> None:
    for kind, values in (("Int64", [1, None]), ("string", ["a", None]), ("category", ["a", None]), (float, [1, None])):
        labels = pandas.Series(values, dtype=kind)
        with pytest.raises(UserError, match="label of example 1 is missing"):
            examples_from((["x", "y"], labels))
        with pytest.raises(UserError, match="label of example 1 is missing"):
            examples_from(pandas.DataFrame({"text": ["x", "y"], "label": labels}))


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "label",
    [Colour.RED, datetime.date(2020, 1, 1), decimal.Decimal("1.5"), float("inf"), "caf\udce9", Path("a"), 1j]
    + [frozenset({1}), ("a", float("inf")), pandas.Timestamp("2020-01-01"), np.datetime64("2020-01-01")]
    + [np.datetime64("2020-01-01", "ns"), np.timedelta64(1, "ns"), np.array("2020-01-01", "datetime64[ns]")],
)
def test_a_label_that_cannot_be_saved_is_refused_before_anything_is_learned(label) -> None:
    with pytest.raises(
        UserError, match="birds: example 1: cannot save the label .*; use strings or integers"
    ) as caught:
        Examples(["x", "y"], ["a", label], "birds")
    str(caught.value).encode()  # a line that can be printed


def test_what_can_be_saved_is_learned_as_it_is() -> None:
    labels = ["a", 1, 2.5, b"x", ("t", 3), np.int64(7), np.str_("s"), torch.tensor(9)]
    assert Examples(range(8), labels).labels == ("a", 1, 2.5, b"x", ("t", 3), 7, "s", 9)
    assert examples_from((["x", "y"], pandas.Series([1, 2], dtype="Int64"))).labels == (1, 2)


class Word(enum.StrEnum):
    RED = "red"


def test_a_string_of_a_class_of_its_own_is_said_to_be_that() -> None:
    for label, plain in ((Word.RED, "str"), (enum.IntEnum("Number", {"ONE": 1}).ONE, "int")):
        with pytest.raises(
            UserError, match=f"of type {type(label).__name__}, which a file would give back as {plain};"
        ):
            Examples(["x"], [label])


def test_a_missing_part_of_a_tuple_is_a_missing_label() -> None:
    for missing in ((None,), ("a", (float("nan"), 1))):
        with pytest.raises(UserError, match="label of example 1 is missing"):
            Examples(["x", "y"], ["a", missing])


@pytest.mark.parametrize("form", [None, "numpy", "torch", "arrow", "pandas"])
def test_a_label_column_of_a_formatted_data_set_is_read_as_the_whole_is(form: str | None) -> None:
    whole = hub(label=datasets.ClassLabel(names=["cat", "dog"])).with_format(form)
    if form not in ("arrow", "pandas"):  # whose columns do not know the names
        assert examples_from((["x"] * len(whole), whole["label"])).labels == examples_from(whole).labels
    plain = datasets.Dataset.from_dict({"label": ["b", "a"]}).with_format(form)
    assert examples_from((["x", "y"], plain["label"])).labels == ("b", "a")


@pytest.mark.parametrize("labels", [["a"], np.array([7]), pandas.Series(["a"])])
def test_one_input_with_its_label_is_one_with_labels_and_without(labels, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png(np.full((4, 4, 3), 9, np.uint8)))
    for one in (tmp_path / "p.png", "a text", png(np.zeros((4, 4), np.uint8)), Image.new("RGB", (4, 4))):
        assert list(examples_from((one, labels))) == list(unlabelled((one, labels))) == [one]
    assert list(unlabelled(("a text", "another"))) == ["a text", "another"]
    assert list(unlabelled((["a", "b"], ["c", "d"]))) == ["a", "b"]
    assert len(unlabelled((np.zeros((4, 4)), np.zeros((4, 4))))) == 2


def test_inputs_without_labels_are_refused_with_the_forms_that_have_them() -> None:
    for data in (np.zeros((3, 8, 8)), ["a.png", "b.png"]):
        with pytest.raises(
            UserError, match=r"expected an \(input, label\) pair.*; give \(inputs, labels\), such pairs"
        ):
            examples_from(data)
