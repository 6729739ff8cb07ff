"""The class table, and what learning prints."""

from collections.abc import Hashable

import pytest

from softtf.errors import UserError
from softtf.learners import LinearHead
from softtf.learners.class_table import ClassTable, own_columns
from softtf.streams import Examples
from softtf.training.config import TrainConfig
from support.tiny import empty, pictures, task_data


def test_progress_is_one_line_an_epoch_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    config = TrainConfig(2, 4, 1.0, precision="float32")
    reports = empty().learn(task_data(0), "birds", config=config)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(
        line.startswith(f"birds: epoch {i}/2, cross entropy") for i, line in enumerate(lines, 1)
    )
    assert [(r.epoch, r.epochs, r.samples) for r in reports] == [(1, 2, 12), (2, 2, 12)]
    empty().learn(task_data(0), progress=False)
    assert not capsys.readouterr().out


def test_the_class_table_numbers_labels_by_first_appearance() -> None:
    table = ClassTable(allow_repeated=True)
    table.add(("b", 1), "one")
    table.add((1, "a", "b"), "two")
    assert table.labels == ["b", 1, "a"] and table.column_labels().tolist() == [0, 1, 1, 2, 0]
    assert table.number("a") == 2
    with pytest.raises(UserError, match="'z' was never learned"):
        table.number("z")
    with pytest.raises(UserError, match="'b'"):
        strict = ClassTable()
        strict.add(("b",), "one")
        strict.add(("c", "b"), "two")


@pytest.mark.parametrize("classes", [(0, 0), (0, "a", False), (1.0, 1)])
def test_a_task_that_names_a_class_twice_is_refused(classes: tuple[Hashable, ...]) -> None:
    table = ClassTable(allow_repeated=True)
    with pytest.raises(UserError, match="twice; each class of a task needs its own label"):
        table.add(classes, "one")
    assert not table.tasks


def test_own_columns_are_places_among_the_tasks_classes() -> None:
    assert own_columns(["x", 2, "x"], [2, "x"]).tolist() == [1, 0, 1]


def test_classes_follow_the_datas_own_order() -> None:
    model = empty(LinearHead())
    model.learn(Examples(pictures(4), ["a", "c", "b", "a"], class_order=("c", "z", "b", "a")), progress=False)
    assert model.labels == ["c", "b", "a"]
