"""KLDA against slow, obvious forms: the kernel, the discriminants, and scikit-learn's on the same random features."""

import math

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from softtf.backbones.random_inputs import random_inputs
from softtf.errors import UserError
from softtf.learners import KLDA, Learner
from softtf.learners.klda import HEIGHTS, RIDGE, WIDTH, FourierMaps, discriminants, median_distance, usual_gamma
from softtf.learners.shares import Shares
from softtf.statistics.ridge_sums import RidgeSums
from support.tiny import noise, tiny_backbone

DIM, LABELS = 32, 4
TEST = 2 * noise(LABELS, DIM, seed=7).repeat(5, 1) + 3 * noise(5 * LABELS, DIM, seed=9)
Tasks = list[tuple[Tensor, Tensor, Tensor]]


def data(n: int = 120) -> tuple[Tensor, Tensor]:
    """Features [n, 32] around a centre for each of four labels, dealt out in turn."""
    labels = torch.arange(n) % LABELS
    return 2 * noise(LABELS, DIM, seed=7)[labels] + 3 * noise(n, DIM, seed=8), labels


def learned(spec: KLDA, tasks: Tasks) -> Learner:
    """A learner of tasks, each of features, logit columns, and the label of every column so far."""
    learner = spec.new_learner(tiny_backbone(), 0)
    learner.network.top = lambda trunk, task: trunk  # type: ignore[method-assign]
    for features, columns, labels in tasks:
        learner.open_slots(len(columns.unique()))
        learner.fit(features, columns, labels)
        learner.close_slots()
    return learner.double()


def at_once(n: int = 120) -> Tasks:
    return [(*data(n), torch.arange(LABELS))]


def scores(learner: Learner) -> Tensor:
    """The mean of the maps' discriminants: logits times the mean of the maps' temperatures."""
    maps = range(learner.spec.maps)  # type: ignore[union-attr,arg-type]
    return centred(learner.logits(TEST, 0)) * sum(temperature(learner, number) for number in maps) / len(maps)


def temperature(learner: Learner, number: int = 0) -> float:
    shares = learner.shares_of(torch.arange(LABELS))
    return discriminants(RidgeSums.total(shares, f"map{number + 1}_", learner.spec.projection, LABELS))[2]  # type: ignore[union-attr,arg-type]


def centred(found: Tensor) -> Tensor:
    return found - found.mean(1, keepdim=True)


def phi(learner: Learner, features: Tensor, number: int = 0) -> Tensor:
    return learner.fourier(features, learner.memory["gamma"])[number]


def test_inner_products_of_random_features_are_the_kernel() -> None:
    x, gamma = noise(20, 8, seed=1), torch.tensor(0.05)
    maps = FourierMaps(2, 8, 20_000, 0)(x, gamma)
    for found in maps:
        for i in range(20):
            for j in range(20):
                kernel = math.exp(-0.05 * float((x[i] - x[j]).square().sum()))
                assert float(found[i] @ found[j]) == pytest.approx(kernel, abs=5 / math.sqrt(20_000))
    assert not torch.equal(maps[0], maps[1])


def test_scores_are_the_distances_to_the_means_under_one_covariance() -> None:
    features, labels = data()
    learner = learned(KLDA(40, maps=1), at_once())
    h, t = phi(learner, features), phi(learner, TEST)
    means = [h[labels == c].mean(0) for c in range(LABELS)]
    scatter = sum(torch.outer(row - means[c], row - means[c]) for row, c in zip(h, labels.tolist(), strict=True))
    scatter = scatter + RIDGE * scatter.trace() / 120 * torch.eye(40)
    inverse = torch.linalg.inv(scatter / 120)
    expected = torch.tensor([[-float((row - m) @ inverse @ (row - m)) / 2 for m in means] for row in t])
    torch.testing.assert_close(scores(learner), centred(expected).double(), rtol=0, atol=1e-3)


def test_it_is_linear_discriminant_analysis() -> None:
    features, labels = data(400)
    learner = learned(KLDA(20, maps=1), at_once(400))
    share = RIDGE * 20 / 400
    twin = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=share / (1 + share), priors=[1 / LABELS] * LABELS)
    h = phi(learner, features)
    found = twin.fit(h.numpy(), labels.numpy()).decision_function(phi(learner, TEST).numpy())
    expected = centred(torch.from_numpy(found)) / (1 + share)  # which divides the covariance by as much
    torch.testing.assert_close(scores(learner), expected, rtol=0, atol=1e-3)


def test_the_ensemble_is_the_mean_of_its_maps() -> None:
    learner = learned(KLDA(30, maps=3), at_once())
    single = learned(KLDA(30, maps=1), at_once())
    total = torch.zeros(len(TEST), LABELS, dtype=torch.float64)
    for number in range(3):
        single.fourier.frequencies = learner.fourier.frequencies[number : number + 1]
        single.fourier.phases = learner.fourier.phases[number : number + 1]
        single.shares = Shares()
        single.fit(*at_once()[0])
        total += scores(single) / 3
    torch.testing.assert_close(scores(learner), total, rtol=0, atol=1e-4)


def test_the_published_sum_of_flat_softmaxes_answers_the_same() -> None:
    learner = learned(KLDA(30, maps=3), at_once(4000))
    features, labels = data(4000)
    total = torch.zeros(len(TEST), LABELS, dtype=torch.float64)
    for number in range(3):
        h, t = phi(learner, features, number), phi(learner, TEST, number)
        means = torch.stack([h[labels == c].mean(0) for c in range(LABELS)])
        away = h - means[labels]
        inverse = torch.linalg.pinv(away.T @ away)
        apart = means - t[:, None]
        total += (-(apart @ inverse * apart).sum(2)).softmax(1)
    assert total.argmax(1).tolist() == scores(learner).argmax(1).tolist()
    assert float((total / 3).max()) < 0.3  # of four labels: flat


def test_neither_the_order_of_tasks_nor_a_class_in_parts_matters() -> None:
    features, labels = data()
    spec, every = KLDA(30, maps=2, gamma=0.01), torch.arange(LABELS)
    pairs = [(labels < 2), (labels >= 2)]
    forth = learned(spec, [(features[p], labels[p], every[: 2 + 2 * t]) for t, p in enumerate(pairs)])
    back = learned(spec, [(features[p], (labels[p] + 2) % 4, every[: 2 + 2 * t]) for t, p in enumerate(pairs[::-1])])
    torch.testing.assert_close(scores(back)[:, [2, 3, 0, 1]], scores(forth), rtol=0, atol=1e-3)
    halves = [
        (features[half], labels[half] + 4 * t, every.repeat(t + 1))
        for t, half in enumerate([slice(60), slice(60, None)])
    ]
    parts = learned(spec, halves)
    probabilities = parts.logits(TEST, 0).softmax(1)
    torch.testing.assert_close(
        probabilities[:, :4] + probabilities[:, 4:], forth.logits(TEST, 0).softmax(1), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("count", [24, 60, 240])
def test_its_temperature_tells_how_examples_score_that_are_left_out_one_by_one(count: int) -> None:
    learner = learned(KLDA(40, maps=1), at_once(count))
    h, labels = phi(learner, data(count)[0]), data(count)[1]

    def height(rows: Tensor, of: Tensor) -> float:
        means = torch.stack([h[rows][labels[rows] == c].mean(0) for c in range(LABELS)])
        away = h[rows] - means[labels[rows]]
        scatter = away.T @ away
        inverse = torch.linalg.inv(scatter + ridge * torch.eye(40)) * len(rows)
        found = h[of] @ inverse @ means.T - (means @ inverse * means).sum(1) / 2
        return float((found[range(len(of)), labels[of]] - found.mean(1)).mean())

    every = torch.arange(count)
    away = h - torch.stack([h[labels == c].mean(0) for c in range(LABELS)])[labels]
    ridge = RIDGE * float(away.square().sum()) / count
    seen = height(every, every)
    left_out = sum(height(every[every != i], every[i : i + 1]) for i in range(count)) / count
    assert 0 < left_out < 0.9 * seen or count == 240
    assert (temperature(learner) / HEIGHTS) ** 2 / seen == pytest.approx(left_out, rel=0.15)


def test_gamma_is_of_the_first_tasks_distances() -> None:
    features, _ = data(30)
    squares = sorted(float((a - b).square().sum()) for i, a in enumerate(features) for b in features[:i])
    middle = squares[(len(squares) - 1) // 2]
    assert usual_gamma(features, 9 * middle, 0.1) == pytest.approx(WIDTH / middle)
    assert usual_gamma(features, 11 * middle, 0.1) == pytest.approx(WIDTH / middle / 11)
    assert usual_gamma(features[:1], 5.0, 0.1) == WIDTH / 5
    assert float(learned(KLDA(9), at_once()).memory["gamma"]) == pytest.approx(usual_gamma(data()[0], 0.0, 0.1))


@pytest.mark.parametrize("first", [1, 2, 30])
def test_a_first_task_of_nearly_the_same_examples_leaves_later_ones_their_accuracy(first: int) -> None:
    """As frames of a film are; gamma is for all tasks."""
    features, labels = data(400)
    backbone, every, spec = tiny_backbone(), torch.arange(LABELS + 1), KLDA(200, maps=1)
    drawn = backbone.pool(backbone.run(backbone.embed(random_inputs(backbone)[:50].double()), 0, backbone.depth))
    scale = math.sqrt(median_distance(drawn) / median_distance(features))  # as far apart as the backbone's features are
    features, test = scale * features, scale * TEST
    film = (features[:1] + 0.01 * noise(first, DIM, seed=4), torch.zeros(first).long(), every[:1])
    alike = learned(spec, [film, (features, labels + 1, every)]).logits(test, 0)[:, 1:]
    usual = learned(spec, [(features, labels, every[:LABELS])]).logits(test, 0)
    found, expected = (int((logits.argmax(1) == torch.arange(LABELS).repeat(5)).sum()) for logits in (alike, usual))
    assert found >= expected - 1 > 15


def test_one_example_of_each_class_can_be_learned() -> None:
    few = [(data(LABELS)[0], torch.arange(LABELS), torch.arange(LABELS))]
    learner = learned(KLDA(200), few)
    assert learner.logits(few[0][0], 0).argmax(1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "settings", [{"projection": 0}, {"projection": 10**6}, {"maps": 0}, {"maps": 101}, {"gamma": 0.0}]
)
def test_settings_that_cannot_be_are_refused(settings: dict) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        KLDA(**settings)
