"""The type of matrix products belongs to the call that set it."""

import gc
import sys
from contextvars import copy_context

import pytest
import torch

from softtf.backbones.base import ComputingIn, _of_this_call


def test_a_context_that_an_interrupt_leaves_open_disturbs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    entered = [ComputingIn(torch.bfloat16)]
    copy_context().run(entered[0].__enter__)
    with ComputingIn(torch.float64):
        entered.clear()
        gc.collect()
        assert _of_this_call.get() == torch.float64
    assert _of_this_call.get() is None and not ignored
