"""Users' own texts in one file: what is read, what a row must be, and what is said of it if it is not."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from softtf.errors import UserError
from softtf.streams import load_source, split_by_task
from softtf.streams.decode import decode
from softtf.streams.files import count_values, load_file, read_texts

ODD = ['a "quoted", text', "two\nlines", "", "🙂 שלום", "nul\0 here", "\u2028 is no line end", "last"]
TASKED = [(f"{label} of {task} {i}", label, task) for task in (2, 10) for label in ("good", "bad") for i in range(5)]


def write_csv(file: Path, rows: list, names: tuple[str, ...] = ("text", "label")) -> Path:
    quoted = (",".join('"' + str(field).replace('"', '""') + '"' for field in row) for row in [names, *rows])
    file.write_text("\n".join(quoted), "utf-8")
    return file


def all_texts(file: Path) -> dict[str, object]:
    """Every text of training and test part, with its label."""
    parts = [part for part in load_source(str(file)) if part is not None]
    return {text: label for part in parts for text, label in zip(part, part.labels, strict=True)}


def test_csv_json_lines_and_parquet_of_the_same_rows_are_the_same_examples(tmp_path: Path) -> None:
    rows = [(text, i % 3) for i, text in enumerate(ODD)]
    table = {"text": [t for t, _ in rows], "label": [n for _, n in rows]}
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"label": n, "text": t}) for t, n in rows))
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    files = [write_csv(tmp_path / "a.csv", rows), tmp_path / "a.jsonl", tmp_path / "a.parquet"]
    for file in files:
        train, test = load_source(str(file))
        assert all_texts(file) == dict(rows)
        assert train.classes == (0, 1, 2) and len(test) == 3  # one of each class of two or three
        assert read_texts(file) == ODD
    assert [count_values(files[0], columns) for columns in (["task"], ["task", "label"])] == [{}, {"label": 3}]
    (tmp_path / "a.tsv").write_text("text\tlabel\nx, y\tgood\n")
    assert all_texts(tmp_path / "a.tsv") == {"x, y": "good"}


def test_a_fifth_of_every_class_of_every_task_is_held_out(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "a.csv", TASKED, ("text", "label", "task"))
    train, test = load_source(str(file), task_column="task")
    assert sorted(zip(test.labels, test.tasks, strict=True)) == [("bad", 2), ("bad", 10), ("good", 2), ("good", 10)]
    assert len(train) == 16 and set(train.tasks) == {2, 10}  # integers, so that 2 comes before 10


def test_lines_of_a_plain_file_are_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n two, three\r\n", "utf-8")
    assert read_texts(tmp_path / "a.txt") == ["one", " two, three"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "is empty; its first row must name the columns"),
        ("a.csv", b"text,label\n", "holds no rows"),
        ("a.csv", b"texts,label\nx,1\n", "unknown column of a.csv 'text'; did you mean 'texts'"),
        ("a.csv", b"text,lable\nx,1\n", "unknown column of a.csv 'label'; did you mean 'lable'"),
        ("a.csv", b"text,label\nx,1\na, b,1\n", "line 3: 3 fields, not 2; quote"),
        ("a.csv", b"text,label\nx\n", "line 2: 1 fields, not 2"),
        ("a.csv", b'text,label\n"x,1\n', "line 2: not valid CSV"),
        ("a.csv", b"text,text\nx,1\n", "two columns have the same name"),
        ("a.csv", b"text,label\n\xe9,1\n", "is not UTF-8 .byte 11."),
        ("a.csv", b"text,label\nx,1\ny,\n", "label of example 1 is missing"),
        ("a.csv", b"text,content,label\nx,y,1\n", r"several could be the input column \(text, content\)"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": \n', "line 2 cannot be read: Expecting value"),
        ("a.jsonl", b"[1]\n", "line 1: not an object"),
        ("a.jsonl", b'{"text": "x"}\n', "unknown column of a.jsonl 'label'"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": null, "label": 1}\n', "row 1 has nothing in column 'text'"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"label": 1}\n', "row 1 has nothing in column 'text'"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": "x", "label": "b"}\n', "values of several types"),
        ("a.parquet", b"", "it is empty"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        load_source(str(tmp_path / name))
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_columns_joined_by_plus_are_read_and_joined(tmp_path: Path, name: str) -> None:
    rows = [{"title": f"t{i}", "body": f"b{i}", "label": i % 2} for i in range(10)]
    csv_text = "\n".join(["title,body,label", *(f"{r['title']},{r['body']},{r['label']}" for r in rows)])
    text = csv_text if name == "a.csv" else "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(text)
    train, _ = load_file(tmp_path / name, text_column="title+body")
    assert {train[i] for i in range(len(train))} <= {f"t{i}\nb{i}" for i in range(10)}
    assert read_texts(tmp_path / name, "title+body") == [f"t{i}\nb{i}" for i in range(10)]
    assert read_texts(tmp_path / name, "body")[3] == "b3"
    with pytest.raises(UserError, match="unknown column of .* 'bdy'; did you mean 'body'"):
        read_texts(tmp_path / name, "bdy")


def test_a_file_has_no_splits(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "a.csv", [(f"x{i}", i % 2) for i in range(10)])
    with pytest.raises(UserError, match="has no splits"):
        load_source(str(file), split_train="learn")


@pytest.mark.parametrize("column", ["split", "Split", "SPLIT"])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_column_split_says_which_rows_are_for_training_and_testing(tmp_path: Path, ending: str, column: str) -> None:
    splits = ["Train", "test", "val", ""] * 2 + ["TRAIN ", "TEST", "VAL", ""] + ["train", "test", "val", ""]
    rows = [(f"x{i // 4}", "ab"[i // 4 % 2], split) for i, split in enumerate(splits)]
    names = ("text", "label", column)
    table = [dict(zip(names, row, strict=True)) for row in rows]
    file = write_csv(tmp_path / "a.csv", rows, names).with_suffix(ending)
    if ending == ".jsonl":
        file.write_text("\n".join(map(json.dumps, table)))
    if ending == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), file)
    said: list[str] = []
    train, test = load_source(str(file), say=said.append)
    assert test is not None and list(train) == list(test) == ["x0", "x1", "x2", "x3"]
    assert said == [f"a{ending}: learns from Train (4), tests on test (4); 4 rows of 'val', 4 rows of '' are not read"]
    assert load_source(str(file), split_train="test", split_test="val")[1] is not None
    with pytest.raises(UserError, match=f"unknown split in column '{column}' .* 'learn'"):
        load_source(str(file), split_train="learn")


def test_a_column_split_without_test_rows_or_of_other_names_is_told(tmp_path: Path) -> None:
    names, said = ("text", "label", "split"), list[str]()
    rows = [(f"x{i}", "ab"[i % 2], "train") for i in range(10)]
    train, test = load_source(str(write_csv(tmp_path / "a.csv", rows, names)), say=said.append)
    assert test is not None and (len(train), len(test)) == (8, 2)
    assert said[0] == "a.csv: learns from train (10)"
    rows = [(f"x{i}", "ab"[i % 2], f"fold{i % 2}") for i in range(10)]
    assert len(load_source(str(write_csv(tmp_path / "b.csv", rows, names)), say=said.append)[0]) == 8
    assert said[2] == "b.csv: column 'split' names no split 'train' (fold0, fold1) and is not read"


def test_numbers_are_labels_in_columns_of_labels_only(tmp_path: Path) -> None:
    file = tmp_path / "numbers.csv"
    rows = [f"{10**25},{'9' * 5000 if i == 0 else 1000 + i},{i % 2}" for i in range(10)]
    file.write_text("\n".join(["id,text,label", *rows]), "utf-8")
    train, test = load_file(file)
    assert test is None and train.classes == (0, 1)
    assert all(isinstance(train[i], str) for i in range(len(train)))
    assert read_texts(file)[1] == "1001"


@pytest.mark.parametrize(("column", "word"), [("label", "label"), ("task", "task")])
def test_a_row_without_label_or_task_is_refused(tmp_path: Path, column: str, word: str) -> None:
    file = tmp_path / "gap.csv"
    rows = [{"text": f"words {i}", "label": "ab"[i % 2], "task": f"t{i // 5}"} for i in range(10)]
    rows[3][column] = ""
    file.write_text("\n".join(["text,label,task", *(",".join(row.values()) for row in rows)]), "utf-8")
    with pytest.raises(UserError, match=f"{word} of example 3 is missing"):
        load_file(file, task_column="task")


def test_columns_that_nobody_reads_may_hold_anything(tmp_path: Path) -> None:
    file = tmp_path / "mixed.jsonl"
    rows = [{"text": f"words {i}", "label": i % 2, "meta": "x" if i % 2 else 1} for i in range(10)]
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    assert load_file(file)[0].classes == (0, 1)


def test_tasks_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    months = ["30 sep", "2 feb", "10 oct"]
    rows = [(f"{label} {month} {i}", label, month) for month in months for label in "ab" for i in range(3)]
    for order in (rows, rows[::-1]):
        train, test = load_source(
            str(write_csv(tmp_path / "a.csv", order, ("text", "label", "month"))), task_column="month"
        )
        assert [task.name for task in split_by_task(train, test)] == list(dict.fromkeys(row[2] for row in order))
    numbers = write_csv(
        tmp_path / "b.csv", [(f"x{n}{i}", "a", n) for n in (10, 9, 100) for i in range(2)], ("text", "label", "task")
    )
    assert [task.name for task in split_by_task(*load_source(str(numbers), task_column="task"))] == ["10", "9", "100"]


def test_what_is_held_out_of_a_file_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    load_source(
        str(write_csv(tmp_path / "a.csv", TASKED, ("text", "label", "task"))), task_column="task", say=said.append
    )
    load_source(str(write_csv(tmp_path / "b.csv", [("x", "a"), ("y", "a"), ("z", "b")])), say=said.append)
    assert said == [
        "a.csv: 4 of 20 examples are held out for testing, a fifth of every class in every task",
        "b.csv: 1 of 3 examples are held out for testing, a fifth of every class; 1 with one example is not tested",
    ]


@pytest.mark.parametrize(
    ("column", "asked"), [("image", None), ("img", None), ("photo", "photo"), ("file name", "file name")]
)
def test_paths_of_images_go_on_from_the_file_wherever_the_work_is_done(
    tmp_path: Path, column: str, asked: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, shade in (("data/pictures", 7), ("work/pictures", 8)):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (4, 4), (shade, 0, 0)).save(tmp_path / folder / f"{i}.jfif", "PNG")
    file = tmp_path / "data" / "a.csv"
    write_csv(
        file,
        [
            ("pictures/0.jfif", "a"),
            (tmp_path / "data/pictures/1.jfif", "a"),
            ("./pictures/2.jfif", "b"),
            ("pictures/3.jfif", "b"),
        ],
        (column, "label"),
    )
    monkeypatch.chdir(tmp_path / "data")
    train, test = load_source("a.csv", image_column=asked)
    monkeypatch.chdir(tmp_path / "work")
    assert len(train) == len(test) == 2
    for image in (*train, *test, *load_source("../data/a.csv", image_column=asked)[0]):
        assert decode(image, "")[0, 0, 0] == 7


def test_texts_stay_texts_and_an_empty_path_is_refused(tmp_path: Path) -> None:
    rows = [("see 1.png", "a"), ("2.png", "a"), ("plain words", "b"), ("more", "b")]
    assert sorted(all_texts(write_csv(tmp_path / "a.csv", rows))) == sorted(text for text, _ in rows)
    file = write_csv(tmp_path / "b.csv", [("1.png", "a"), ("", "a")], ("image", "label"))
    with pytest.raises(UserError, match="row 1 has nothing in column 'image'"):
        load_source(str(file))


def test_rows_with_columns_of_their_own_are_bounded(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"text": f"a {i}", "label": i % 2, f"own {i}": 1} for i in range(998)]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert len(all_texts(file)) == 998
    file.write_text("\n".join(map(json.dumps, [*rows, {"text": "b", "label": 1, "one more": 1}])))
    with pytest.raises(UserError, match="rows.jsonl has more than 1,000 columns"):
        load_file(file)
