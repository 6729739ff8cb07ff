"""A quantised matrix is within its stated bound of the one given, whatever its values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softtf.adaptations.quantise import Quantised, from_bits, halve, quantise, to_bits

CENTRES = (0.0, 1.0)
EPSILON, SMALLEST = 2.0**-23, 2.0**-149  # of float32

floats = st.floats(-(2.0**120), 2.0**120, width=32)
near_one = st.floats(0.75, 1.25, width=32)
tiny = st.floats(-(2.0**-126), 2.0**-126, width=32)


@st.composite
def matrices(draw: st.DrawFn) -> torch.Tensor:
    columns = draw(st.integers(1, 9))
    row = st.one_of(
        st.lists(draw(st.sampled_from([floats, near_one, tiny])), min_size=columns, max_size=columns),
        floats.map(lambda value: [value] * columns),
        st.just([0.0] * columns),
        st.just([1.0] * columns),
    )
    return torch.tensor(draw(st.lists(row, min_size=1, max_size=4)), dtype=torch.float32)


@settings(deadline=None, max_examples=300)
@given(matrices(), st.sampled_from(CENTRES))
def test_no_value_moves_further_than_the_bound(values: torch.Tensor, centre: float) -> None:
    quantised = quantise(values, centre)
    assert quantised.codes.dtype == torch.int8 and quantised.codes.shape == values.shape
    assert quantised.steps.dtype == torch.float32 and quantised.steps.shape == (len(values), 1)
    assert quantised.codes.abs().max() <= 127
    assert quantised.dequantised().isfinite().all()
    exact = values.double()
    largest = (exact - centre).abs().amax(1, keepdim=True)
    rounding = 4 * EPSILON * (exact.abs() + abs(centre) + largest) + 127 * SMALLEST
    assert ((quantised.dequantised().double() - exact).abs() <= largest / 254 + rounding).all()


@given(matrices(), st.sampled_from(CENTRES))
def test_rows_are_packed_apart(values: torch.Tensor, centre: float) -> None:
    whole = quantise(values, centre)
    for i in range(len(values)):
        row = quantise(values[i : i + 1], centre)
        assert torch.equal(row.codes[0], whole.codes[i]) and torch.equal(row.steps[0], whole.steps[i])


@pytest.mark.parametrize("centre", CENTRES)
def test_the_centre_and_the_widest_values_come_back_exactly(centre: float) -> None:
    values = centre + torch.tensor([[0.5, -0.5, 0.0], [0.0, 0.0, 0.0], [127.0, 64.0, -1.0]])
    assert torch.equal(quantise(values, centre).dequantised(), values)


@settings(deadline=None)
@given(st.integers(0, 99), st.sampled_from([torch.float32, torch.float64]), st.sampled_from([*CENTRES, 0.25]))
def test_times_is_the_product_with_the_values(seed: int, dtype: torch.dtype, centre: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    quantised = quantise(centre + 0.1 * torch.randn(5, 7, generator=generator), centre)
    weight = torch.randn(5, 7, generator=generator, dtype=dtype)
    before = quantised.codes.clone(), quantised.steps.clone(), weight.clone()
    product = quantised.times(weight)
    assert product.dtype == dtype
    torch.testing.assert_close(product, weight * (centre + quantised.codes * quantised.steps.to(dtype)))
    assert all(torch.equal(a, b) for a, b in zip((quantised.codes, quantised.steps, weight), before, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_the_form_without_values_is_that_of_any_values(dtype: torch.dtype) -> None:
    values = torch.ones(3, 5, dtype=dtype)
    found, form = quantise(values, 1.0), quantise(values.to("meta"), 1.0)
    for one, other in ((found.codes, form.codes), (found.steps, form.steps)):
        assert other.is_meta and (one.dtype, one.shape) == (other.dtype, other.shape)


def test_the_product_is_made_where_the_weight_is() -> None:
    quantised: Quantised = quantise(torch.randn(2, 3), 1.0)
    assert quantised.times(torch.empty(2, 3, device="meta")).device.type == "meta"
    assert quantised.codes.device.type == "cpu"


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(st.floats(-65504, 65504, width=32), near_one, tiny), min_size=1, max_size=20))
def test_halved_values_move_no_further_than_the_bound(values: list[float]) -> None:
    exact = torch.tensor(values)
    halved = halve(exact)
    assert halved.dtype == torch.float16
    bound = (exact.double().abs() * 2.0**-11).clamp(min=2.0**-25)
    assert ((halved.double() - exact.double()).abs() <= bound).all()
    assert torch.equal(halve(halved.float()), halved)  # once is enough


def test_values_that_float16_does_not_reach_are_left_alone() -> None:
    for largest, dtype in ((65504.0, torch.float16), (65505.0, torch.float32), (-1e30, torch.float32)):
        values = torch.tensor([0.1, largest])
        assert halve(values).dtype == dtype
        torch.testing.assert_close(halve(values).float(), values, rtol=2**-11, atol=0)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 4))
def test_bits_come_back_as_they_were_at_eight_a_byte(values: list[bool], rows: int) -> None:
    mask = torch.tensor([values] * rows)
    quantised = to_bits(mask)
    assert quantised.dtype == torch.uint8 and len(quantised) == -(-mask.numel() // 8)
    assert torch.equal(from_bits(quantised, mask.shape), mask)
    eights = [mask.flatten().tolist()[i : i + 8] for i in range(0, mask.numel(), 8)]
    assert quantised.tolist() == [sum(bit << place for place, bit in enumerate(eight)) for eight in eights]


@pytest.mark.parametrize("columns", [8, 5])
def test_rows_of_bits_are_those_of_the_whole_mask(columns: int) -> None:
    """Also where rows begin within a byte."""
    mask = torch.rand(7, columns, generator=torch.Generator().manual_seed(0)) < 0.5
    for rows in (slice(None), slice(0, 1), slice(2, 5), slice(6, 7)):
        assert torch.equal(from_bits(to_bits(mask), mask.shape, rows), mask[rows])
