"""`linear` is F.linear, values and gradients, for every shape and type it may meet."""

import pytest
import torch
from torch.nn import functional as F

from softtf.backbones.kernels import linear, linear_each
from support.tiny import noise


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 2, 3, 5), (0, 3, 5), (1, 1, 5)])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("needs", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torch(shape: tuple[int, ...], with_bias: bool, needs: tuple[bool, bool], dtype: torch.dtype) -> None:
    if len(shape) == 1 or 0 in shape:
        needs = (False, False)  # only forward is ever asked for
    x, weight = noise(*shape).to(dtype), noise(4, 5, seed=1).to(dtype)
    bias = noise(4, seed=2).to(dtype) if with_bias else None
    x.requires_grad_(needs[0])
    weight.requires_grad_(needs[1])
    wanted = [t for t, need in zip((x, weight), needs, strict=True) if need]
    if bias is not None and wanted:
        wanted.append(bias.requires_grad_())
    found, expected = linear(x, weight, bias), F.linear(x, weight, bias)
    torch.testing.assert_close(found, expected)
    if wanted:
        upstream = noise(*expected.shape, seed=3).to(dtype)
        ours, theirs = (torch.autograd.grad(out, wanted, upstream) for out in (found, expected))
        torch.testing.assert_close(ours, theirs)


def test_strided_inputs_are_read_right() -> None:
    x, weight = noise(3, 5, 4).float().transpose(1, 2), noise(5, 6, seed=1).float().T
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight))
    grad = torch.ones(1).float().expand(3, 4, 6)
    x.requires_grad_(), weight.requires_grad_()
    ours = torch.autograd.grad(linear(x, weight), (x, weight), grad)
    theirs = torch.autograd.grad(F.linear(x, weight), (x, weight), grad)
    torch.testing.assert_close(ours, theirs)


def test_bfloat16_stays_bfloat16() -> None:
    x, weight = noise(3, 5).bfloat16(), noise(4, 5, seed=1).bfloat16()
    assert torch.equal(linear(x, weight), F.linear(x, weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [1, 3])
def test_each_product_has_a_weight_of_its_own(rows: int, dtype: torch.dtype) -> None:
    x, weights = noise(4, 5, rows).to(dtype).transpose(1, 2), noise(4, 6, 5, seed=1).to(dtype)
    expected = torch.stack([F.linear(x[i], weights[i]) for i in range(4)])
    torch.testing.assert_close(linear_each(x, weights), expected)
