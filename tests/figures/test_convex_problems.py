"""The bound of Appendix A.1 holds for every problem, start and number of steps, and is no weaker than it must be."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softtf.figures.convex_problems import Problem, mask_problem, prompt_on, prompt_problem

SEEDS, STEPS = st.integers(0, 2**31), st.integers(1, 60)
DISTANCES = st.floats(0.01, 100)


@given(st.sampled_from([mask_problem, prompt_problem]), DISTANCES, SEEDS, STEPS)
def test_the_bound_holds(make: object, distance: float, seed: int, steps: int) -> None:
    problem = make(distance, seed)  # type: ignore[operator]
    assert problem.distance == pytest.approx(distance)
    assert problem.loss(problem.optimum) == pytest.approx(0, abs=1e-9)
    assert problem.suboptimality(steps) + 1e-9 >= 0
    assert problem.suboptimality(steps) <= problem.bound(steps) * (1 + 1e-9)


@pytest.mark.slow
@given(SEEDS, STEPS)
def test_the_bound_holds_for_a_prompt_that_cannot_solve_the_task(seed: int, steps: int) -> None:
    task = mask_problem(1.0, seed)
    problem = prompt_on(task, seed)
    assert problem.suboptimality(steps) <= problem.bound(steps) * (1 + 1e-9)


@given(SEEDS, STEPS, st.floats(0.1, 10))
def test_the_bound_holds_against_any_point(seed: int, steps: int, length: float) -> None:
    problem = mask_problem(1.0, seed)
    away = np.random.default_rng(seed).normal(size=problem.start.shape) * length
    problem = replace(problem, optimum=problem.start + away)
    assert problem.suboptimality(steps) <= problem.bound(steps) * (1 + 1e-9)


def test_the_bound_is_met_by_one_step_on_a_line() -> None:
    line = Problem(np.ones((1, 1, 1)), np.zeros((1, 1)), np.ones(1), np.zeros(1))  # |w| from 1
    assert line.suboptimality(1) == line.bound(1) == 1


@pytest.mark.slow
@given(SEEDS)
def test_no_prompt_is_better_than_the_best_one(seed: int) -> None:
    problem = prompt_on(mask_problem(1.0, seed), seed)
    best = problem.loss(problem.optimum)
    near = np.random.default_rng(seed).normal(size=(20, len(problem.optimum)))
    assert all(problem.loss(problem.optimum + 10.0**-k * step) >= best - 1e-6 for k in range(4) for step in near)


@given(SEEDS, st.integers(1, 8))
def test_gradient_descent_is_the_slow_loop(seed: int, steps: int) -> None:
    problem = mask_problem(1.0, seed)
    eta = problem.distance / (problem.lipschitz * steps**0.5)
    w, seen = problem.start, []
    for _ in range(steps):
        seen.append(w)
        gradient = np.zeros_like(w)
        for a, b in zip(problem.maps, problem.targets, strict=True):
            gap = a @ w - b
            gradient += a.T @ gap / np.linalg.norm(gap) / len(problem.maps)
        assert np.linalg.norm(gradient) <= problem.lipschitz + 1e-9
        w = w - eta * gradient
    assert problem.mean_iterate(steps) == pytest.approx(np.mean(seen, axis=0))


def test_the_maps_of_a_mask_are_the_masked_layer() -> None:
    problem = mask_problem(2.0, 3)
    draw = np.random.default_rng(3)
    weight, inputs = draw.normal(size=(8, 16)) / 4, draw.normal(size=(32, 16))
    mask = np.random.default_rng(9).normal(size=(8, 16))
    outputs = np.stack([(weight * mask) @ x for x in inputs])
    assert (problem.maps @ mask.ravel()) == pytest.approx(outputs)
    assert (problem.start == 1).all()
    prompt = prompt_on(problem, 3)
    token = np.random.default_rng(8).normal(size=16)
    gaps = np.stack([weight @ (x + token) for x in inputs]) - problem.targets
    assert prompt.maps @ token - prompt.targets == pytest.approx(gaps)
