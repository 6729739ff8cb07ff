"""What has splits or can be read once only is learned, and predicted, as the same data in a list are."""

import datasets
import polars
import pytest
import torch
from torch.utils import data as torch_data

from softtf.errors import UserError
from softtf.streams import examples_from, gathering, unlabelled
from streams.test_forms import IMAGES, LABELS, hub, shown

PAIRS = list(zip(IMAGES, LABELS, strict=True))
NAMES = datasets.ClassLabel(names=["a", "b"])


class Mapped(torch_data.Dataset):
    def __len__(self) -> int:
        return len(PAIRS)

    def __getitem__(self, index):
        return PAIRS[index]


class Streamed(torch_data.IterableDataset):
    def __iter__(self):
        return iter(PAIRS)


def forms() -> dict[str, object]:
    labelled = hub(label=NAMES)
    return {
        "a generator": (pair for pair in PAIRS),
        "a torch Dataset": Mapped(),
        "a torch IterableDataset": Streamed(),
        "a DataLoader": torch_data.DataLoader(Mapped(), batch_size=2),
        "a DataLoader that shuffles": torch_data.DataLoader(Mapped(), batch_size=2, shuffle=True, drop_last=True),
        "a DataLoader of a stream": torch_data.DataLoader(Streamed()),
        "a DatasetDict": datasets.DatasetDict({"Train": labelled, "test": labelled.select([0])}),
        "a DatasetDict of one split": datasets.DatasetDict({"everything": labelled}),
        "a streamed data set": labelled.to_iterable_dataset(),
        "streamed splits": datasets.IterableDatasetDict({"train": labelled.to_iterable_dataset()}),
    }


@pytest.mark.parametrize("form", forms())
def test_every_form_is_what_a_list_of_pairs_is(form: str) -> None:
    random = torch.get_rng_state()
    found = examples_from(forms()[form])
    assert found.labels == tuple(LABELS) and torch.equal(shown(found), shown(examples_from(PAIRS)))
    inputs = unlabelled(forms()[form])
    assert torch.equal(shown(inputs), shown(found)[:1] if form == "a DatasetDict" else shown(found))
    assert torch.equal(torch.get_rng_state(), random)


def test_the_split_that_is_wanted_is_taken() -> None:
    both = datasets.DatasetDict({"train": hub(label=NAMES), "validation": hub(label=NAMES).select([1])})
    assert len(examples_from(both)) == 3 and len(examples_from(both, split="test")) == 1
    for none in ({"first": hub(label=NAMES), "second": hub(label=NAMES)}, {}):
        with pytest.raises(UserError, match=r"none of the splits .* is called train; give one of them, such as data\["):
            examples_from(datasets.DatasetDict(none))


def test_a_table_of_pyarrow_is_read_as_the_data_set_of_its_rows_is() -> None:
    for labelled in (hub(label=NAMES), hub(label=datasets.Value("int64"))):
        table = labelled.data.table
        for form in (lambda t: t, lambda t: t.to_batches()[0], lambda t: t.to_reader()):
            found, expected = examples_from(form(table)), examples_from(labelled)
            assert found.labels == expected.labels and torch.equal(shown(found), shown(expected))
            assert torch.equal(shown(unlabelled(form(table))), shown(expected))
    columns = examples_from((table["image"], table["label"]))
    assert torch.equal(shown(columns), shown(expected)) and columns.labels == expected.labels
    with pytest.raises(UserError, match="no input column.*Columns: label"):
        examples_from(table.select(["label"]))


def test_a_loader_of_a_subset_is_that_subset_and_one_that_draws_is_refused() -> None:
    subset = torch_data.DataLoader(Mapped(), sampler=torch_data.SubsetRandomSampler([2, 0]))
    assert torch.equal(shown(examples_from(subset)), shown(examples_from([PAIRS[0], PAIRS[2]])))
    drawing = {
        "WeightedRandomSampler": {"sampler": torch_data.WeightedRandomSampler([1.0, 2.0, 3.0], 3)},
        "RandomSampler": {"sampler": torch_data.RandomSampler(Mapped(), replacement=True)},
        "list": {"batch_sampler": [[0, 0], [1]]},
    }
    for words, options in drawing.items():
        with pytest.raises(UserError, match=f"whose {words} draws examples"):
            examples_from(torch_data.DataLoader(Mapped(), **options))


def test_a_stream_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOST", 5)
    endless = (PAIRS[0] for _ in iter(int, 1))
    with pytest.raises(UserError, match="more than 5 examples"):
        examples_from(endless)
    with pytest.raises(UserError, match="has no examples"):
        examples_from(datasets.IterableDataset.from_generator(lambda: iter(())))


def test_frames_of_polars_are_read_as_those_of_pandas_are() -> None:
    frame = polars.DataFrame({"text": ["one", "two", "three"], "label": ["a", "b", "a"]})
    found = examples_from(frame)
    assert list(found) == ["one", "two", "three"] and found.labels == ("a", "b", "a")
    assert list(unlabelled(frame)) == list(unlabelled(frame["text"])) == list(found)
    assert examples_from((frame["text"], frame["label"])).labels == found.labels
    for wrong, words in (
        (frame.lazy(), r"call .collect\(\)"),
        (polars.DataFrame({"text": ["a", None], "label": [1, 2]}), "row 1 has nothing in column 'text'"),
        (polars.DataFrame({"text": ["a", "b"], "label": [1, None]}), "label of example 1 is missing"),
        (polars.DataFrame({"words": ["a"], "label": [1]}), "no input column.*Columns: words, label"),
    ):
        with pytest.raises(UserError, match=words):
            examples_from(wrong)
