"""What is kept while a learner answers is its module's own, also in a copy."""

import copy

import torch
from torch import Tensor, nn

from softtf.backbones.answering import Kept, answering, once


def test_it_is_made_once_for_each_module_and_name_and_goes_with_a_copy() -> None:
    kept, made, (one, other) = Kept(), list[str](), (nn.Identity(), nn.Identity())

    def make(name: str) -> Tensor:
        made.append(name)
        return torch.ones(1, requires_grad=True)

    for _ in range(2):
        once(one, "x", lambda: make("outside"))
        with answering(kept):
            found = [once(m, n, lambda n=n: make(n)) for m in (one, other) for n in ("x", "y")]  # type: ignore[misc]
        assert not any(value.requires_grad for value in found)
    assert made == ["outside", "x", "y", "x", "y", "outside"]
    of_copy, twin = copy.deepcopy((kept, one))
    with answering(of_copy):
        assert torch.equal(once(twin, "x", lambda: make("again")), torch.ones(1))
        once(one, "x", lambda: make("of the first"))
    assert made[6:] == ["of the first"]
