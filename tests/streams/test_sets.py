"""Several data sets as the tasks of one stream: where they are found, and which labels are one class."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from softtf.errors import UserError
from softtf.runs.config import StreamConfig
from softtf.streams import load_sets

LABELS = {
    "news": ["world", "sports"],
    "yelp": ["bad", "good"],
    "amazon": ["bad", "good"],
    "asked": ["sports", "health"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four data sets of two classes: four training and six test rows of each class."""
    for name, labels in LABELS.items():
        for split, rows in (("train", 4), ("test", 6)):
            texts = [f"{name} {split} {label} {i}" for label in labels for i in range(rows)]
            table = pyarrow.table({"text": texts, "label": [n for n in range(2) for _ in range(rows)]})
            pyarrow.parquet.write_table(table, tmp_path / f"{name}_{split}.parquet")
        (tmp_path / f"{name}_labels.txt").write_text("\n".join(labels))
    return tmp_path


def test_sets_with_the_same_labels_share_them_if_merged_and_other_labels_never(folder: Path) -> None:
    merged = load_sets(list(LABELS), str(folder), merged=True)
    assert [train.classes for train, _ in merged.values()] == [
        ("world", "sports (news)"),
        ("bad", "good"),
        ("bad", "good"),
        ("sports (asked)", "health"),
    ]
    apart = load_sets(list(LABELS), str(folder), merged=False)
    assert apart["yelp"][1].classes == ("bad (yelp)", "good (yelp)")
    assert len({label for train, _ in apart.values() for label in train.classes}) == 8
    assert list(apart["asked"][0])[5] == "asked train health 1" and apart["asked"][0].labels[5] == "health"


def test_a_data_set_may_have_a_folder_of_its_own(folder: Path) -> None:
    (folder / "mine").mkdir()
    for split in ("train", "test"):
        (folder / f"news_{split}.parquet").rename(folder / "mine" / f"{split}.parquet")
    found = load_sets(["mine"], str(folder), merged=True)
    assert found["mine"][0].classes == (0, 1) and len(found["mine"][1]) == 12


@pytest.mark.parametrize(
    ("names", "source", "words"),
    [
        (("news", "news"), "", "named twice in news, news"),
        (("newz",), "", "has neither newz_train.parquet nor a folder newz"),
        (("news",), "nowhere", "there is no folder 'nowhere'"),
        (("agnewz",), "hub", "unknown data set 'agnewz'; did you mean 'agnews'"),
    ],
)
def test_what_is_not_there_is_said(folder: Path, names: tuple[str, ...], source: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_sets(names, source or str(folder), merged=True)


def test_a_stream_has_a_task_a_set_or_one_of_all_with_equally_many_tests_of_each(folder: Path) -> None:
    settings = {"datasets": tuple(LABELS), "merge_labels": True, "train_per_class": 3, "test_per_dataset": 5}
    stream = StreamConfig(str(folder), 4, **settings).build()
    assert [task.name for task in stream] == list(LABELS)
    assert [(len(task.train), len(task.test)) for task in stream] == [(6, 5)] * 4
    assert [[task.test.labels.count(c) for c in task.classes] for task in stream] == [[3, 2]] * 4
    (joint,) = StreamConfig(str(folder), 1, **settings).build()
    assert len(joint.classes) == 6 and (len(joint.train), len(joint.test)) == (24, 20)
    del settings["train_per_class"]
    few = StreamConfig(str(folder), 4, **settings, train_per_dataset=7).build()
    assert [[task.train.labels.count(c) for c in task.classes] for task in few] == [[4, 3]] * 4
    assert joint.classes == ("world", "sports (news)", "bad", "good", "sports (asked)", "health")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_tasks": 3}, "num_tasks must be the number of datasets, 4, or 1 for all at once, not 3"),
        ({"task_column": "t"}, "task_column does not go with datasets"),
        ({"class_order_seed": 1}, "class_order_seed does not go with datasets"),
        ({"datasets": ()}, "test_per_dataset goes with datasets"),
        ({"datasets": (), "train_per_dataset": 5}, "train_per_dataset goes with datasets"),
        ({"train_per_dataset": 0}, "train_per_dataset must be at least 1, not 0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        StreamConfig(**({"datasets": tuple(LABELS), "num_tasks": 4, "test_per_dataset": 5} | settings)).build()
