"""Forms say what saved tensors must be; the first that differs is named, in one line."""

import pytest
import torch
from torch import Tensor

from softtf.errors import UserError
from softtf.files.tensor_form import INTEGERS, Forms, TensorForm, check_forms, in_runs, require


def test_exactly_the_required_tensors_pass() -> None:
    like = {"a": torch.ones(2, 3), "n": torch.tensor(7)}
    require({"a": torch.zeros(2, 3), "n": torch.tensor(1)}, like, "f")
    require({"a": torch.zeros(2, 3, dtype=torch.float64), "n": torch.tensor(1)}, like, "f")
    with pytest.raises(UserError, match="'a' has type torch.float64, expected torch.float32"):
        require({"a": torch.zeros(2, 3, dtype=torch.float64), "n": torch.tensor(1)}, like, "f", exact=True)


nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "f.st: 'mask' is missing; expected shape [2, 3], found nothing"),
        ({"mask": torch.zeros(2, 3), "x": torch.zeros(1)}, "f.st: 'x' is not expected here; expected mask"),
        ({"mask": torch.zeros(3, 2)}, "f.st: 'mask' has shape [3, 2], expected [2, 3]"),
        ({"mask": torch.tensor([[1, 2, 3], [4, nan, 6]])}, "f.st: 'mask' has 1 NaN of 6, expected none"),
        ({"mask": torch.tensor([[1, 2, 3], [-inf, inf, 6]])}, "f.st: 'mask' has 2 infinite of 6, expected none"),
        (
            {"mask": torch.zeros(2, 3).to(torch.float8_e5m2)},
            "f.st: 'mask' has type torch.float8_e5m2, expected torch.float32",
        ),
        ({"mask": torch.zeros(2, 3, dtype=torch.int8)}, "f.st: 'mask' has type torch.int8, expected torch.float32"),
    ],
)
def test_what_differs_is_named(tensors: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(UserError) as caught:
        require(tensors, {"mask": torch.ones(2, 3)}, "f.st")
    assert str(caught.value) == message


@pytest.mark.parametrize("other", [torch.float32, torch.int64, torch.uint8, torch.bool])
def test_whole_numbers_must_have_their_very_type(other: torch.dtype) -> None:
    codes = torch.zeros(2, dtype=torch.int8)
    require({"codes": codes}, {"codes": codes}, "f")
    with pytest.raises(UserError, match=f"'codes' has type {other}, expected torch.int8"):
        require({"codes": codes.to(other)}, {"codes": codes}, "f")


def test_names_that_somebody_made_long_or_many_are_not_told_in_full() -> None:
    for found in ({"x" * 10**6: torch.zeros(1)}, {f"x{i}" * 20: torch.zeros(1) for i in range(9999)}):
        with pytest.raises(UserError, match="f.st: ") as caught:
            require({**found, "mask": torch.zeros(1)}, {"mask": torch.zeros(1)}, "f.st")
        assert len(str(caught.value)) < 300
        with pytest.raises(UserError, match="'mask' is missing") as caught:
            require(found, {"mask": torch.zeros(1)}, "f.st")
        assert len(str(caught.value)) < 3000


FORMS: Forms = {
    "keys": TensorForm(("n", 2), least=0, most=1),
    "tasks": in_runs("n", 3),
    "basis": TensorForm(
        (range(3),), rule=lambda basis, all_of_them: len(basis) < len(all_of_them["keys"]), words="few"
    ),
    "labels": TensorForm((2,), INTEGERS, equal=torch.tensor([0, 1])),
}
WHOLE = {
    "keys": torch.ones(4, 2),
    "tasks": torch.tensor([0, 1, 1, 2]),
    "basis": torch.zeros(2),
    "labels": torch.tensor([0, 1]),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": torch.ones(3, 2)}, "'m.tasks' has shape [4], expected [3]"),
        ({"keys": torch.ones(0, 2), "tasks": torch.zeros(0)}, "'m.keys' has shape [0, 2], expected [n, 2]"),
        ({"keys": torch.full((4, 2), 2.0)}, "'m.keys' has the value 2.0, expected from 0 to 1"),
        ({"keys": torch.full((4, 2), -2.0)}, "'m.keys' has the value -2.0, expected from 0 to 1"),
        ({"tasks": torch.tensor([0, 1, 1, 1])}, "'m.tasks' has other values than it can have"),
        ({"tasks": torch.tensor([1, 0, 1, 2])}, "'m.tasks' has other values than it can have"),
        (
            {"tasks": torch.tensor([0, 1, 1, 2], dtype=torch.int32)},
            "'m.tasks' has type torch.int32, expected torch.int64",
        ),
        ({"basis": torch.zeros(3)}, "'m.basis' has shape [3], expected [0 to 2]"),
        ({"labels": torch.tensor([1, 0])}, "'m.labels' has other values than it can have"),
    ],
)
def test_sizes_bounds_and_rules(change: dict[str, Tensor], message: str) -> None:
    check_forms(WHOLE, FORMS, "f")
    check_forms(WHOLE | {"basis": torch.zeros(0)}, FORMS, "f")
    with pytest.raises(UserError) as caught:
        check_forms(WHOLE | change, FORMS, "f", "m.")
    assert str(caught.value).startswith(f"f: {message}")
