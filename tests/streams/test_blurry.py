import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import BlockRidge
from softtf.recipes.recipes import recipe_named
from softtf.runs.config import StreamConfig
from softtf.streams import Examples, TaskStream, blurred, split_by_class
from support.tiny import inputs, tiny_backbone


def stream_of(labels: list[int], num_tasks: int, test: bool = False) -> TaskStream:
    train = Examples([f"{label}, number {i}" for i, label in enumerate(labels)], labels, "train")
    return split_by_class(train, train if test else None, num_tasks)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 8), min_size=4, max_size=80).filter(lambda labels: len(set(labels)) >= 4),
    st.integers(1, 4),
    st.floats(0, 0.99),
    st.integers(0, 3),
)
def test_a_share_of_each_class_moves_and_no_example_is_lost(
    labels: list[int], num_tasks: int, share: float, seed: int
) -> None:
    apart = stream_of(labels, num_tasks, test=True)
    stream = blurred(apart, share, seed)
    assert sorted(row for task in stream for row in task.train) == sorted(row for task in apart for row in task.train)
    for task, before in zip(stream, apart, strict=True):
        assert (task.index, task.name, task.test) == (before.index, before.name, before.test)
        assert task.classes == task.train.classes == tuple(sorted(set(task.train.labels)))
        for label in before.classes:
            count = before.train.labels.count(label)
            away = min(round(share * count), count - 1) if num_tasks > 1 else 0
            assert task.train.labels.count(label) == count - away
    again = blurred(apart, share, seed)
    assert [list(task.train) for task in again] == [list(task.train) for task in stream]


def test_a_seed_chooses_what_moves_and_where_to() -> None:
    apart = stream_of([label for label in range(6) for _ in range(10)], 3)
    found = {str([list(task.train) for task in blurred(apart, 0.3, seed)]) for seed in range(4)}
    assert len(found) == 4


def test_the_default_answers_as_if_no_class_had_come_back() -> None:
    images = inputs(48, seed=1)
    apart = split_by_class(Examples(images, [i % 6 for i in range(48)], "noise"), None, 3)
    answers = []
    for stream in (apart, blurred(apart, 0.4)):
        model = ContinualClassifier(
            tiny_backbone(), BlockRidge(30, views=1), device="cpu", repeated_classes="allow", precision="float32"
        )
        for task in stream:
            model.learn(task.train)
        assert sorted(model.labels) == list(range(6))
        assert "3 tasks, 6 classes" in model.summary()
        probabilities = model.predict_proba(inputs(20, seed=2))
        answers.append(probabilities[:, torch.tensor([model.labels.index(label) for label in range(6)])])
    torch.testing.assert_close(*answers, rtol=1e-5, atol=1e-6)


def test_settings_say_how_blurry_a_stream_is() -> None:
    config = recipe_named("cifar100-10-blurry").stream
    assert (config.blurry, config.shares_labels) == (0.1, True)
    assert config.labels_protocol == "10% of each class's training examples in other tasks"
    assert not StreamConfig().shares_labels
    tasks = StreamConfig("digits", 5, train_per_class=20, blurry=0.25).build()
    assert [len(task.train) for task in tasks] != [40] * 5 and sum(len(task.train) for task in tasks) == 200
    assert all(set(task.test.classes) < set(task.classes) for task in tasks if task.test)
    for settings_ in ({"blurry": 1.0}, {"blurry": -0.1}):
        with pytest.raises(UserError, match="blurry"):
            StreamConfig(**settings_)
    with pytest.raises(UserError, match="blurry deals examples to other tasks than task_column says"):
        StreamConfig("rows.csv", task_column="month", blurry=0.1)
    with pytest.raises(UserError, match="blurry does not go with datasets"):
        StreamConfig("hub", 2, datasets=("agnews", "yelp"), blurry=0.1)
