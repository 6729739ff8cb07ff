"""The task at hand: what is trained on, and frozen features that are computed once, when they are asked for."""

from pathlib import Path

import pytest
import torch

from softtf.backbones.base import Backbone
from softtf.backbones.feature_store import FeatureStore
from softtf.backbones.features import FixedQueries
from softtf.learners.class_table import ClassTable
from softtf.learners.task_data import TaskData
from support.tiny import task_data, task_labels, tiny_backbone


def second_task(backbone: Backbone, store: FeatureStore | None = None) -> TaskData:
    table = ClassTable()
    for task in (0, 1):
        table.add(task_labels(task), f"task {task + 1}")
    return TaskData(task_data(1), table, backbone, 4, store=store)


def test_columns_go_on_after_those_of_earlier_tasks() -> None:
    data = second_task(tiny_backbone())
    assert data.labels == task_labels(1) and data.known == [*task_labels(0), *task_labels(1)]
    assert data.columns.tolist() == [3] * 4 + [4] * 4 and data.column_labels.tolist() == list(range(5))


def test_old_examples_are_trained_on_and_have_no_part_in_the_features() -> None:
    backbone = tiny_backbone()
    data, plain = second_task(backbone), second_task(backbone)
    old = [backbone.preparation.load_train(image, "") for image in task_data(0)]
    data.rehearse(old, torch.arange(len(old)) % 3)
    assert data.loader.targets.tolist() == [*data.columns.tolist(), *[0, 1, 2] * 4]
    assert torch.equal(data.features.values, plain.features.values) and len(data.features.values) == 8
    assert len(data.queries.get().values) == 20 and plain.queries is plain.own_queries
    with pytest.raises(AssertionError, match="read already"):
        data.rehearse(old, torch.zeros(len(old), dtype=torch.int64))


def test_features_are_computed_when_asked_for_once_and_read_from_disk_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = tiny_backbone()
    store = FeatureStore(tmp_path, backbone.weights_hash(), print)
    asked, true = [], FixedQueries.get
    monkeypatch.setattr(FixedQueries, "get", lambda self, *rest: (asked.append(self), true(self, *rest))[1])
    data = second_task(backbone, store)
    assert len(data.loader) == 2 and not asked
    first = data.features
    assert data.features is first and not first.from_disk and data.own_queries.kept_seconds == 0
    again = second_task(backbone, store)
    assert again.own_queries.kept_seconds == 0
    assert torch.equal(again.features.values, first.values)
    assert again.own_queries.kept_seconds == first.seconds + first.loading > 0
