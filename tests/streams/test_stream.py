import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softtf.errors import UserError
from softtf.streams import Examples, TaskStream, from_datasets, split_by_class, split_by_task
from softtf.streams.holdout import hold_out


def letters(labels, name="data", **options):
    return Examples([f"{name} {i}" for i in range(len(labels))], labels, name, **options)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 8), st.none() | st.integers(0, 9))
def test_a_split_deals_every_class_and_example_to_one_task(labels, num_tasks, seed):
    train = letters(labels, "train")
    if len(train.classes) < num_tasks:
        with pytest.raises(UserError, match=f"{len(train.classes)} classes do not fill {num_tasks} tasks"):
            split_by_class(train, None, num_tasks, seed)
        return
    test = letters(train.classes, "test")
    stream = split_by_class(train, test, num_tasks, seed)
    assert [task.index for task in stream] == list(range(num_tasks))
    sizes = [len(task.classes) for task in stream]
    assert max(sizes) - min(sizes) <= 1
    dealt = [c for task in stream for c in task.classes]
    assert sorted(dealt) == list(train.classes)
    if seed is None:
        assert dealt == list(train.classes)
    for task in stream:
        assert task.classes == task.train.classes == task.test.classes
    pairs = [(row, label) for t in stream for row, label in zip(t.train, t.train.labels, strict=True)]
    assert sorted(pairs) == sorted(zip(train, labels, strict=True))


def test_examples_keep_their_order_within_a_task():
    stream = split_by_class(letters([3, 0, 1, 0, 2]), None, 2)
    assert list(stream[0].train) == ["data 1", "data 2", "data 3"]
    assert stream[0].train.labels == (0, 1, 0)
    assert stream[0].test is None


@pytest.mark.parametrize(("classes", "tasks"), [(1, 1), (3, 1), (4, 2), (7, 3), (10, 5), (100, 5)])
def test_unless_told_otherwise_classes_are_dealt_to_at_most_five_tasks_of_two_or_more(classes, tasks):
    assert len(split_by_class(letters(list(range(classes))), None)) == tasks


def test_a_seed_shuffles_the_classes_and_only_it():
    train = letters(list(range(20)))
    orders = {tuple(c for task in split_by_class(train, None, 5, seed) for c in task.classes) for seed in range(6)}
    assert len(orders) == 6
    again = split_by_class(train, None, 5, 3)
    assert [t.classes for t in again] == [t.classes for t in split_by_class(train, None, 5, 3)]


def test_the_class_order_of_the_data_is_the_order_of_the_tasks():
    train = letters(["a", "b", "c", "d"], class_order=["d", "b", "c", "a"])
    assert [task.classes for task in split_by_class(train, None, 2)] == [("d", "b"), ("c", "a")]


def test_wrong_splits_are_refused():
    train = letters([0, 1, 2])
    for test, num_tasks, message in [
        (None, 0, "at least 1, not 0"),
        (None, 4, "3 classes do not fill 4 tasks"),
        (letters([0, 7], "held out"), 2, "held out: class 7 is in the test data but not"),
        (letters([0, 1], "held out"), 3, "held out: no examples of the classes of task 'stream, task 3'"),
    ]:
        with pytest.raises(UserError, match=message):
            split_by_class(train, test, num_tasks)


def test_one_task_for_each_data_set_in_the_order_given():
    yelp, news = letters([1, 2], "yelp"), letters(["x", "y"], "news")
    tasks = from_datasets([(yelp, None), (news, news)], "texts")
    assert tasks.name == "texts"
    assert [(t.index, t.name, t.classes, t.train, t.test) for t in tasks] == [
        (0, "yelp", (1, 2), yelp, None),
        (1, "news", ("x", "y"), news, news),
    ]
    named = from_datasets({"second": (news, None), "first": (yelp, yelp)})
    assert [t.name for t in named] == ["second", "first"]
    with pytest.raises(UserError, match="class 'x'|class 'y'"):
        from_datasets([(yelp, news)])
    with pytest.raises(UserError, match="at least one task"):
        from_datasets([])


def test_a_slice_is_a_shorter_stream():
    stream = split_by_class(letters(list(range(6))), None, 3, name="six")
    head = stream[:2]
    assert isinstance(head, TaskStream)
    assert head.name == "six"
    assert list(head) == list(stream)[:2]
    assert stream[-1].classes == (4, 5)


def test_tasks_that_the_data_name_may_share_labels():
    train = letters("abcab", "train", tasks=["y", "y", "x", "x", "x"])
    test = letters("abca", "test", tasks=["y", "y", "x", "x"])
    stream = split_by_task(train, test)
    assert [(t.name, t.classes, list(t.train), list(t.test)) for t in stream] == [
        ("y", ("a", "b"), ["train 0", "train 1"], ["test 0", "test 1"]),
        ("x", ("a", "b", "c"), ["train 2", "train 3", "train 4"], ["test 2", "test 3"]),
    ]
    assert [t.name for t in split_by_task(train.select([2, 3, 4]), None, 1)] == ["x"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["2 feb", "10 oct", "1 jan", "30 sep"]), min_size=4, max_size=40), st.integers(0, 9))
def test_tasks_come_in_the_order_of_the_data_whatever_is_held_out_or_left_out(values, seed):
    data = letters(["a"] * len(values), tasks=values)
    train, _ = hold_out(data)
    named = [value for i, value in enumerate(values) if value not in values[:i]]
    for part in (data, train, train.per_class(3, seed), train.with_labels(["b"] * len(train))):
        found = [task.name for task in split_by_task(part, None)]
        assert found == [value for value in named if value in part.tasks]


@pytest.mark.parametrize("by", ["class", "task"])
def test_however_many_tasks_there_are_every_row_is_looked_at_once(by):
    """Labels, and names of tasks, that count how often they are walked through while a stream is made."""

    class Counted(tuple):
        walks = 0

        def __iter__(self):
            Counted.walks += 1
            return super().__iter__()

    def cost(kinds):
        values = [i % kinds for i in range(400)]
        examples = letters(values) if by == "class" else letters([0] * 400, tasks=values)
        examples.labels, examples.tasks = Counted(examples.labels), examples.tasks and Counted(examples.tasks)
        Counted.walks = 0
        (split_by_class if by == "class" else split_by_task)(examples, None, kinds)
        return Counted.walks

    assert cost(40) == cost(4)


def test_tasks_are_refused_where_the_data_do_not_name_them():
    train = letters("ab", tasks=["x", "y"])
    for wrong, message in (
        (lambda: split_by_task(letters("ab"), None), "give task_column"),
        (lambda: split_by_task(train, letters("ab")), "give task_column"),
        (lambda: split_by_task(train, letters("a", tasks=["x"])), "no examples of task 'y'"),
        (lambda: split_by_task(train, None, 3), "the data name 2 tasks, not 3"),
        (lambda: letters("ab", tasks=["x"]), "2 inputs but 1 tasks"),
        (lambda: letters("ab", tasks=["x", None]), "the task of example 1 is missing"),
    ):
        with pytest.raises(UserError, match=message):
            wrong()
