"""Convex problems for which the theorem of the paper's Appendix A.1 holds: gradient descent on a mask, on a prompt.

The appendix follows Shalev-Shwartz and Ben-David (2014, Lemma 14.1 and Corollary 14.2). Let f be convex and
rho-Lipschitz, w(1) the start, w* any point at distance ||w(1) - w*|| <= B, and w(t+1) = w(t) - eta v(t) with v(t) a
subgradient. With eta = B / (rho sqrt(T)), the mean of the first T iterates has

    f(mean) - f(w*) <= B rho / sqrt(T)                                                              (equation 13)

A mask starts at one, which is the pre-trained W, so B = ||1 - m*||. A prompt starts at random, so B = ||p(1) - p*||.
The paper assumes that the first is smaller (equation 20), and so is the bound (equation 21). Its text gives no numbers
for either distance.

The problems here are small enough for the theorem to hold. A frozen layer W reads the mean x of an example's tokens,
which all get the same attention:

    f(m) = mean over examples of ||(W * m) x - y||        f(p) = mean over examples of ||W (x + p) - y||

Both are convex in the learned parameter.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
EXAMPLES, OUT, IN = 32, 8, 16


@dataclass(frozen=True)
class Problem:
    """f(w) = mean over examples of ||A w - b||, with a start and a reference point w*.

    maps: A [examples, out, parameters]. targets: b [examples, out]. start, optimum: [parameters].
    """

    maps: Array
    targets: Array
    start: Array
    optimum: Array

    @property
    def distance(self) -> float:
        """B, the distance of the start from w*."""
        return float(np.linalg.norm(self.start - self.optimum))

    @property
    def lipschitz(self) -> float:
        """A rho that bounds every subgradient: the mean of the largest singular values of A."""
        return float(np.linalg.norm(self.maps, 2, axis=(1, 2)).mean())

    def loss(self, w: Array) -> float:
        """Return f(w)."""
        return float(np.linalg.norm(self.maps @ w - self.targets, axis=1).mean())

    def subgradient(self, w: Array) -> Array:
        """Return a subgradient of f at w, [parameters]."""
        residuals = self.maps @ w - self.targets
        norms = np.linalg.norm(residuals, axis=1, keepdims=True)
        units = np.divide(residuals, norms, out=np.zeros_like(residuals), where=norms > 0)
        found: Array = np.einsum("nop,no->p", self.maps, units) / len(residuals)
        return found

    def bound(self, steps: int) -> float:
        """Return B rho / sqrt(T) (equation 13)."""
        return self.distance * self.lipschitz / math.sqrt(steps)

    def suboptimality(self, steps: int) -> float:
        """Return f(mean of the first T iterates) - f(w*), with the step size of the theorem."""
        return self.loss(self.mean_iterate(steps)) - self.loss(self.optimum)

    def mean_iterate(self, steps: int) -> Array:
        """Return the mean of w(1), ..., w(T) of gradient descent with eta = B / (rho sqrt(T))."""
        eta = self.distance / (self.lipschitz * math.sqrt(steps))
        w, total = self.start.copy(), np.zeros_like(self.start)
        for _ in range(steps):
            total += w
            w = w - eta * self.subgradient(w)
        return total / steps

    def divided(self, by: float) -> "Problem":
        """Return the problem with the loss f / by."""
        return Problem(self.maps / by, self.targets / by, self.start, self.optimum)


def mask_problem(distance: float, seed: int) -> Problem:
    """Return a task that a mask at this distance from one solves exactly; gradient descent starts at one."""
    draw = np.random.default_rng(seed)
    weight, inputs = _layer(draw)
    optimum = 1 + _of_length(draw, OUT * IN, distance)
    maps = np.einsum("oi,ni,oq->noqi", weight, inputs, np.eye(OUT)).reshape(EXAMPLES, OUT, OUT * IN)
    return Problem(maps, maps @ optimum, np.ones(OUT * IN), optimum)


def prompt_problem(distance: float, seed: int) -> Problem:
    """Return a task that a prompt at this distance from its start, U(-1, 1), solves exactly."""
    draw = np.random.default_rng(seed)
    weight, inputs = _layer(draw)
    start = draw.uniform(-1, 1, IN)
    optimum = start + _of_length(draw, IN, distance)
    return Problem(np.repeat(weight[None], EXAMPLES, 0), np.tile(weight @ optimum, (EXAMPLES, 1)), start, optimum)


def prompt_on(task: Problem, seed: int) -> Problem:
    """Return the task of `mask_problem(..., seed)` for a prompt; w* is the best prompt, found by reweighted squares."""
    draw = np.random.default_rng(seed)
    weight, inputs = _layer(draw)
    maps = np.repeat(weight[None], EXAMPLES, 0)
    targets = task.targets - inputs @ weight.T
    start = np.random.default_rng((seed, 1)).uniform(-1, 1, IN)
    return Problem(maps, targets, start, _best(maps, targets))


def _best(maps: Array, targets: Array) -> Array:
    """Return the minimiser of the mean norm of A w - b (Weiszfeld's iteration)."""
    w = np.zeros(maps.shape[2])
    for _ in range(300):
        shares = 1 / np.maximum(np.linalg.norm(maps @ w - targets, axis=1), 1e-9) ** 0.5
        matrix, side = maps * shares[:, None, None], targets * shares[:, None]
        w = np.linalg.lstsq(matrix.reshape(-1, maps.shape[2]), side.ravel())[0]
    return w


def _layer(draw: np.random.Generator) -> tuple[Array, Array]:
    return draw.normal(size=(OUT, IN)) / IN**0.5, draw.normal(size=(EXAMPLES, IN))


def _of_length(draw: np.random.Generator, size: int, length: float) -> Array:
    direction = draw.normal(size=size)
    return length * direction / np.linalg.norm(direction)
