"""The net tells what differs: a renamed tensor from a changed number, one policy from another, here from elsewhere."""

from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from net.cases import cases
from net.compare import differences
from net.measure import hashes

Tensors = dict[str, torch.Tensor]
BEFORE: Tensors = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3), "c": torch.tensor([1.5], dtype=torch.float16)}


def compared(tmp_path: Any, tensors: Tensors, same_machine: bool = True) -> list[str]:
    found = []
    for number, state in enumerate((BEFORE, tensors)):
        folder = tmp_path / str(number)
        folder.mkdir()
        save_file(state, folder / "task-001.safetensors")
        found.append({"x": {"tensors": hashes(folder)}})
    return differences(*found, same_machine).get("x", [])


@pytest.mark.parametrize("same_machine", [True, False])
def test_nothing_differs_from_itself(tmp_path: Any, same_machine: bool) -> None:
    assert compared(tmp_path, {name: BEFORE[name].clone() for name in reversed(BEFORE)}, same_machine) == []


def test_a_renamed_tensor_is_told_from_a_changed_number(tmp_path: Any) -> None:
    renamed = {"z": BEFORE["a"], "b": BEFORE["b"], "c": BEFORE["c"]}
    assert compared(tmp_path, renamed) == ["tensors: tensors were renamed, no number changed"]


def test_the_last_bit_of_a_number_is_seen_on_the_same_machine_only(tmp_path: Any) -> None:
    changed = BEFORE | {"a": torch.nextafter(BEFORE["a"], torch.tensor(9.0))}
    (tmp_path / "same").mkdir(), (tmp_path / "other").mkdir()
    assert compared(tmp_path / "same", changed) == ["tensors: numbers of tensors changed, their names did not"]
    assert compared(tmp_path / "other", changed, same_machine=False) == []


@pytest.mark.parametrize(
    "change", [{"a": torch.tensor([1.0, 2.0, 0.0])}, {"b": torch.tensor(3.0)}, {"d": torch.ones(1)}]
)
def test_shapes_types_and_new_tensors_are_seen_on_any_machine(tmp_path: Any, change: Tensors) -> None:
    (line,) = compared(tmp_path, BEFORE | change, same_machine=False)
    assert "names, types or shapes" in line


def test_accuracies_are_exact_here_and_near_elsewhere() -> None:
    def of(text: str) -> dict[str, Any]:
        return {"x": {"run": {"accuracy": {"oracle": text}, "parameters": 3}}}

    then = of("4, 4 2; tasks 12, 9 7")
    assert differences(then, of("4, 4 2; tasks 12, 9 7"), True) == {}
    assert differences(then, of("4, 4 3; tasks 12, 9 7"), True) == {
        "x": ["run accuracy oracle: 4, 4 2; tasks 12, 9 7 was written down, 4, 4 3; tasks 12, 9 7 found"]
    }
    assert differences(then, of("4, 4 3; tasks 12, 9 7"), False) == {}
    for other in ("4, 4 2; tasks ", "4; tasks 12", "40, 4 2; tasks 12, 9 7", "4, 4 2; tasks 0, 9 7"):
        assert differences(then, of(other), False), other


def test_probabilities_are_exact_here_and_near_elsewhere() -> None:
    def of(*rows: str) -> dict[str, Any]:
        return {"x": {"answers": {"probabilities": list(rows), "sha256": "".join(rows)}}}

    then = of("0.250 0.750", "1.000 0.000")
    assert differences(then, of("0.252 0.748", "1.000 0.000"), False) == {}
    assert len(differences(then, of("0.252 0.748", "1.000 0.000"), True)["x"]) == 2
    for other in (["0.350 0.650", "1.000 0.000"], ["0.250 0.750"], ["0.250", "1.000"]):
        assert differences(then, of(*other), False), other


def test_policies_cases_and_settings_that_come_or_go_are_told() -> None:
    then = {"x": {"run": {"accuracy": {"oracle": "1; tasks 1"}}}, "y": {}, "own-texts": {"ft": {"train.epochs": "5"}}}
    now = {"x": {"run": {"accuracy": {"none": "1; tasks 1"}}}, "z": {}, "own-texts": {"ft": {"train.epochs": "6"}}}
    for same_machine in (True, False):
        assert differences(then, now, same_machine) == {
            "x": ["run accuracy oracle: is gone", "run accuracy none: is new"],
            "y": ["is gone"],
            "own-texts": ["ft train.epochs: 5 was written down, 6 found"],
            "z": ["is new: nothing is written down of it"],
        }


def test_every_method_has_a_case_in_which_all_is_done() -> None:
    methods = ["ncm", "idbr", "clip-prompt", "a-new-one"]
    assert {case.method for case in cases(methods) if case.fully} == set(methods)
