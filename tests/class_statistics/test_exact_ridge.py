"""The regression against a plain one over all examples; its sums in any order; its probabilities."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.statistics.centred_ridge import (
    LEAST_SLOPE,
    RIDGE,
    SLOPE_POWER,
    calibrated,
    centred,
    error_for_new,
    ridge_share,
)
from softtf.statistics.class_densities import class_densities
from softtf.statistics.exact_ridge import ExactRidge, ExactRidgeSolution, sharpness_of
from softtf.statistics.ridge_sums import RidgeSums
from softtf.statistics.shares import Share
from support.tiny import noise

VIEWS, DIM, SIZE, LABELS = 2, 8, 40, 6
CENTRES = noise(LABELS, VIEWS * DIM, seed=1).float()
RIDGE_OF = ExactRidge(VIEWS, DIM, SIZE, 0)


def samples(label: int, count: int, seed: int = 2) -> Tensor:
    return CENTRES[label] + 0.8 * noise(count, VIEWS * DIM, seed=10 * seed + label).float()


def learned(order: list[int], counts: dict[int, int] | None = None) -> tuple[ExactRidgeSolution, list[Share]]:
    """Tasks of one label each, in this order; what was found, and the shares of the tasks."""
    shares: list[Share] = []
    places: dict[int, int] = {}
    numbers: list[int] = []
    for column, label in enumerate(order):
        numbers.append(places.setdefault(label, len(places)))
        features = samples(label, (counts or {}).get(label, 20))
        columns = torch.full((len(features),), column)
        shares.append(RIDGE_OF.share(shares, features, columns, torch.tensor(numbers), lambda chunk: chunk))
    return RIDGE_OF.solve(shares), shares


def total(shares: list[Share]) -> RidgeSums:
    return RidgeSums.total(shares, "", SIZE, LABELS)


def test_units_are_of_each_view_alone() -> None:
    x = samples(0, 3)
    changed = x.clone()
    changed[:, DIM:] += 1
    h, other = RIDGE_OF(x), RIDGE_OF(changed)
    assert h.shape == (3, SIZE) and (h >= 0).all()
    assert torch.equal(h[:, : SIZE // 2], other[:, : SIZE // 2])
    assert not torch.equal(h[:, SIZE // 2 :], other[:, SIZE // 2 :])


def test_it_is_the_ridge_regression_of_all_examples_at_once() -> None:
    """Labels of equally many examples, by the normal equations with a free constant, in float64."""
    found, _ = learned(list(range(LABELS)))
    h = torch.cat([RIDGE_OF(samples(label, 20)) for label in range(LABELS)]).double().round()
    y = F.one_hot(torch.arange(LABELS).repeat_interleave(20)).double()
    centred = h - h.mean(0)
    ridge = ridge_share(20) * centred.square().sum(1).mean()
    weights = torch.linalg.solve(centred.T @ centred + ridge * torch.eye(SIZE).double(), centred.T @ (y - y.mean(0)))
    slope = float((found.weights.double().norm() / weights.norm()).float())  # scores are drawn to their mean by so much
    assert LEAST_SLOPE**SLOPE_POWER <= slope <= 1
    torch.testing.assert_close(found.weights.double(), slope * weights, rtol=1e-5, atol=1e-7)
    bias = y.mean(0) - slope * h.mean(0) @ weights
    torch.testing.assert_close(found.bias.double(), bias, rtol=1e-5, atol=1e-6)
    assert found.ridge == pytest.approx(float(ridge))


def test_lambda_is_larger_where_labels_have_few_examples() -> None:
    """At the same scatter: 0.6 of its mean with five examples of each label, 0.33 with fifty."""
    shares = [learned(list(range(3)), dict.fromkeys(range(3), count))[1] for count in (5, 50)]
    for count, of_count in zip((5, 50), shares, strict=True):
        found = centred(RidgeSums.total(of_count, "", SIZE, 3))
        h = torch.cat([RIDGE_OF(samples(label, count)) for label in range(3)]).double().round()
        assert found.ridge == pytest.approx((0.3 + 1.5 / count) * float((h - h.mean(0)).square().sum(1).mean()))


def test_tasks_in_any_order_give_the_same_sums_to_the_bit_and_the_same_answers() -> None:
    """Sums are whole numbers; solving goes through them in another order of labels, which rounds in float64."""
    order = [3, 0, 5, 1, 4, 2]
    one, shares = learned(list(range(LABELS)))
    other, reordered = learned(order)
    assert torch.equal(total(shares).gram, total(reordered).gram) and shares[0].tensors["gram"].dtype == torch.int32
    assert torch.equal(total(shares).cross[:, order], total(reordered).cross)
    torch.testing.assert_close(one.weights[:, order], other.weights, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(one.bias[order], other.bias, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(one.densities[:, order], other.densities, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(one.densities_bias[order], other.densities_bias, rtol=1e-6, atol=1e-7)


def test_sums_of_parts_add_up_and_can_be_taken_out_to_the_bit() -> None:
    whole, part, rest = (total(learned(order)[1]).gram for order in ([0, 1, 2, 3], [0, 1], [2, 3]))
    assert torch.equal(whole, part + rest)
    assert torch.equal(whole - rest, part)


def test_shares_in_any_order_or_number_solve_as_if_only_their_tasks_had_been_learned() -> None:
    _, shares = learned([0, 1, 2, 3])
    some = [shares[2]._replace(labels=torch.tensor([0])), shares[0]._replace(labels=torch.tensor([1]))]
    alone, _ = learned([2, 0])
    for name, value in vars(RIDGE_OF.solve(some)).items():
        assert value == getattr(alone, name) if name == "ridge" else torch.equal(value, getattr(alone, name)), name


def test_large_sums_are_kept_in_more_bits() -> None:
    sums = RidgeSums.zeros(2, 1)
    sums.add(torch.tensor([[50_000.0, 3.0]]).double(), torch.tensor([0]))
    kept = sums.kept("", whole=True)
    assert kept["gram"].tolist() == [2_500_000_000, 150_000, 9] and kept["gram"].dtype == torch.int64
    assert torch.equal(RidgeSums.total([Share(kept, torch.tensor([0]))], "", 2, 1).gram, sums.gram)


def test_probabilities_are_about_as_sure_as_they_are_right() -> None:
    found, _ = learned(list(range(LABELS)), dict.fromkeys(range(LABELS), 200))
    fresh = torch.cat([samples(label, 200, seed=9) for label in range(LABELS)])
    truth = torch.arange(LABELS).repeat_interleave(200)
    scores = RIDGE_OF(fresh) @ found.weights + found.bias
    densities = RIDGE_OF(fresh) @ found.densities + found.densities_bias
    for pooled in (None, densities):
        p = ExactRidge.logits(vars(found), scores, pooled).softmax(1)
        assert abs(float(p.amax(1).mean()) - float((p.argmax(1) == truth).float().mean())) < 0.1
        assert pooled is not None or torch.equal(p.argmax(1), scores.argmax(1))


def told_and_left_out(count: int, noise_of: float, seed: int = 0) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return by how much scores are drawn to their mean and their error before: told, and without each example.

    The first two follow from the sums, the others of regressions without each example. There the others of its label
    stand in for it, so that all labels are as heavy.
    """
    seeds = range(seed * LABELS, (seed + 1) * LABELS)
    drawn = [CENTRES[label] + noise_of * noise(count, VIEWS * DIM, seed=s).float() for label, s in enumerate(seeds)]
    h = torch.cat([RIDGE_OF(x) for x in drawn]).double().round()
    y = F.one_hot(torch.arange(LABELS).repeat_interleave(count)).double()
    n = len(h)

    def fitted(weight: Tensor) -> tuple[Tensor, Tensor]:
        mean = weight @ h / n
        scatter = (h - mean).T @ (weight[:, None] * (h - mean)) + ridge * torch.eye(SIZE).double()
        return torch.linalg.solve(scatter, (h - mean).T @ (weight[:, None] * (y - 1 / LABELS))), mean

    def without(i: int) -> Tensor:
        weight = 1 + y @ y[i] / (count - 1)
        weight[i] = 0
        return weight

    ridge = RIDGE * float((h - h.mean(0)).square().sum(1).mean())
    solved = [fitted(without(i)) for i in range(n)]
    left_out = torch.stack([(h[i] - mean) @ weights for i, (weights, mean) in enumerate(solved)])
    slope = float((left_out * (y - 1 / LABELS)).sum() / left_out.square().sum())

    error = float((y - 1 / LABELS - left_out).square().sum(1).mean())

    sums = RidgeSums.zeros(SIZE, LABELS)
    sums.add(h, y.argmax(1))
    found = centred(sums, share=RIDGE)
    told = float(calibrated(found)[0].norm() / fitted(torch.ones(n).double())[0].norm())
    return (told, error_for_new(found)), (min(1.0, max(LEAST_SLOPE, slope)) ** SLOPE_POWER, error)


@pytest.mark.parametrize(("count", "noise_of"), [(5, 2.0), (20, 2.0), (20, 0.5), (40, 4.0)])
def test_the_slope_of_new_examples_is_that_of_examples_left_out(count: int, noise_of: float) -> None:
    (told, error), (left_out, error_left_out) = told_and_left_out(count, noise_of)
    assert told == pytest.approx(left_out, abs=0.1)
    assert error == pytest.approx(error_left_out, rel=0.25 if count == 5 else 0.1)  # a label lacks its left-out example


@pytest.mark.parametrize("count", [4, 5])
def test_the_slope_is_not_too_small_where_a_label_has_few_examples(count: int) -> None:
    (told, _), (left_out, _) = (
        torch.tensor([told_and_left_out(count, 1.5, seed) for seed in range(20)]).mean(0).tolist()
    )
    assert told == pytest.approx(left_out, abs=0.1)


@pytest.mark.parametrize("counts", [dict.fromkeys(range(LABELS), 20), {0: 5, 1: 40, 2: 20}, dict.fromkeys(range(6), 2)])
def test_densities_are_those_of_gaussians_with_one_covariance(counts: dict[int, int]) -> None:
    """From all examples at once, by the formula of the density and explicit inverses; labels weigh the same."""
    order = sorted(counts)
    found, _ = learned(order, counts)
    h = [RIDGE_OF(samples(label, counts[label])).double().round() for label in order]
    means = torch.stack([part.mean(0) for part in h])
    around = torch.cat([part - mean for part, mean in zip(h, means, strict=True)])
    inverse = torch.linalg.inv((around.T @ around + found.ridge * torch.eye(SIZE).double()) / len(around))
    new = torch.cat([RIDGE_OF(samples(label, 3, seed=9)) for label in range(LABELS)]).double()

    def log_density(mean: Tensor) -> Tensor:
        return ((new - mean) @ inverse * (new - mean)).sum(1) / -2

    expected = torch.stack([log_density(mean) - log_density(means.mean(0)) for mean in means], 1)
    apart = means - means.mean(0)
    distance = float((apart @ inverse * apart).sum(1).mean())
    told = new @ found.densities.double() + found.densities_bias.double()
    torch.testing.assert_close(told, expected / max(1.0, distance) ** 0.5, rtol=1e-4, atol=1e-4)


def test_the_pool_is_surer_where_new_examples_are_answered_far_above_chance_and_without_noise() -> None:
    found, shares = learned(list(range(LABELS)))
    solution = centred(total(shares))
    leverage, chance = solution.leverage, 1 - 1 / LABELS
    above = (solution.explained - leverage * chance) / (1 - leverage)
    noise = error_for_new(solution) - chance + 2 * above - above**2 / chance
    less = ((max(noise, 0) + 0.05) ** 0.5) * (1 + solution.examples / LABELS / 100) ** 0.15
    assert found.sharpness.item() == pytest.approx(0.44 * (1 + LABELS * max(above, 0)) ** 0.15 / less)
    surer = (0.2, 0.3, 20, 200), (0.3, 0.3, 10, 100), (0.2, 0.2, 10, 100), (0.2, 0.3, 10, 50)
    assert sharpness_of(0.2, 0.3, 10, 100) < min(sharpness_of(*told) for told in surer)
    assert sharpness_of(-0.1, 0.3, 1, 9) > 0 and sharpness_of(0.9, 0.1, 2, 9) == sharpness_of(0.9, 0.2, 2, 9)


def test_densities_of_more_labels_than_units_are_by_the_same_formula() -> None:
    """There another matrix is inverted, that of the units."""
    sums = RidgeSums.zeros(4, LABELS)
    for label in range(LABELS):
        sums.add(RIDGE_OF(samples(label, 20)).double().round()[:, :4], torch.full((20,), label))
    weights, bias = class_densities(centred(sums))
    means = sums.cross / sums.counts
    a = (sums.scatter(means) + centred(sums).ridge * torch.eye(4).double()) / float(sums.counts.sum())
    apart = means - means.mean(1, keepdim=True)
    expected = torch.linalg.solve(a, apart)
    squares = (apart * expected).sum(0)
    scale = max(1.0, float(squares.mean())) ** 0.5
    torch.testing.assert_close(weights, expected / scale)
    torch.testing.assert_close(bias, (-means.mean(1) @ expected - squares / 2) / scale)


def test_a_class_between_two_others_is_masked_by_the_regression_and_not_by_the_pool() -> None:
    """Three classes in a row, on units that are not rectified."""

    def row(place: int, count: int, seed: int) -> Tensor:
        return (torch.tensor([20.0 * place, 0, 0, 0]) + 5 * noise(count, 4, seed=seed)).double().round()

    sums = RidgeSums.zeros(4, 3)
    for label in range(3):
        sums.add(row(label, 100, label), torch.full((100,), label))
    (weights, bias), (densities, constant) = calibrated(centred(sums)), class_densities(centred(sums))
    middle = row(1, 200, 9)
    known = {"counts": sums.counts, "labels": torch.arange(3), "sharpness": torch.tensor(1.0)}
    scores, pool = middle @ weights + bias, middle @ densities + constant
    alone, pooled = ((ExactRidge.logits(known, scores, d).argmax(1) == 1).float().mean() for d in (None, pool))
    assert alone < 0.4 and pooled > alone + 0.3


def test_a_label_of_several_tasks_is_one_label() -> None:
    found, _ = learned([0, 1, 0, 2], {2: 5})
    assert found.labels.tolist() == [0, 1, 0, 2]
    assert torch.equal(found.weights[:, 0], found.weights[:, 2])
    p = ExactRidge.logits(vars(found), torch.tensor([[0.5, 0.2, 0.5, 0.1]])).softmax(1)[0]
    assert p[0] == p[2]


@pytest.mark.parametrize("count", [1, 2])
def test_one_label_of_few_examples_can_be_learned(count: int) -> None:
    found, _ = learned([0], {0: count})
    assert found.weights.isfinite().all() and found.bias.item() == pytest.approx(1)
    more, _ = learned([0, 1], {0: count, 1: count})
    assert (RIDGE_OF(samples(1, 1)) @ more.weights + more.bias).argmax() == 1
    assert more.counts.tolist() == [count, count]
