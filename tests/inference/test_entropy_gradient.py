"""Law 5: per-sample Gradient ID is the slow loop's, sample by sample, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from references.gradient_id import gradient_id_scores
from softtf.adaptations import SoftMask
from softtf.backbones import mixed_linear
from softtf.inference import INFERENCES
from softtf.inference.entropy_gradient import GradientID, largest_entropy
from softtf.inference.policy import Policy
from softtf.inference.pooling import Pooling
from softtf.learners import DualPrompt, Learner
from softtf.network import AdaptedNetwork, SharedPass
from support.by_hand import head, normalised, scores
from support.slow import each
from support.tiny import generator, inputs, learned, mask_values, noise, tiny_backbone

NOISY = "uniform(0.5,1.5)"
LEARNERS = {
    "G, E, masks on all four": DualPrompt(e_layers=(2, 3), adapt=SoftMask((3, 4), "w/ FF", NOISY)),
    "G above and beside E": DualPrompt((1, 3), 2, (2, 3), 3, adapt=SoftMask((2, 4), "w/ FF", NOISY)),
    "qkv of one layer": DualPrompt(g_layers="none", e_layers="none", adapt=SoftMask((2,), "qkv", NOISY)),
    "E only": DualPrompt(e_layers=(2, 4)),
}
specs = pytest.mark.parametrize("spec", LEARNERS.values(), ids=LEARNERS)


def parts(learner: Learner) -> tuple[list, list, dict]:
    """Masks and E-prompts of every task and the G-prompts, as the reference wants them."""
    names = learner.slot_modules()
    general, expert = names["GeneralPrefix"], names["ExpertPrefix"]
    masks, prefixes = [], []
    for task in range(learner.num_tasks):
        slot = names["SoftMasks"].slot(task) if "SoftMasks" in names else {}
        masks.append({key: value.detach() for key, value in mask_values(slot).items()})
        prefixes.append({int(k[5:7]) - 1: v.detach() for k, v in expert.slot(task).items()})
    return masks, prefixes, {int(k[5:7]) - 1: v.detach() for k, v in general.prompts.items()}


@specs
@pytest.mark.parametrize(("limit", "at_once", "block"), [(2**27, 10, 2**18), (9000, 2, 1000), (1, 1, 1)])
def test_scores_equal_the_slow_loop(
    spec: DualPrompt, limit: int, at_once: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed_linear, "CPU_GRADIENT_BYTES", limit)
    monkeypatch.setattr(mixed_linear, "COMPONENTS", at_once)
    monkeypatch.setattr(mixed_linear, "CPU_BLOCK", block)
    learner, x = learned(spec).learner, inputs(5, 3)
    masks, prefixes, general = parts(learner)
    expected = gradient_id_scores(
        learner.network.backbone.vit, normalised(x), masks=masks, prefixes=prefixes, head=head(learner),
        shared_prefixes=general, top_entries=9 // 3,
    )  # fmt: skip
    torch.testing.assert_close(scores(learner, x), expected, rtol=1e-6, atol=1e-9)
    assert expected.std(1).min() > 1e-4  # so the tasks differ


def test_key_matched_prompts_are_those_of_each_samples_own_key() -> None:
    spec = LEARNERS["G, E, masks on all four"]
    learner, x = learned(spec).learner, inputs(8, 4)
    masks, prefixes, general = parts(learner)
    with torch.no_grad():
        query = SharedPass(learner.network, x).query
    chosen = learner.keys.similarities(query).argmax(1).tolist()
    assert len(set(chosen)) > 1
    found = scores(learner, x, "gradient-id-key-prompts")
    for i, task in enumerate(chosen):
        fixed = general | prefixes[task]
        for block in general.keys() & prefixes[task].keys():
            fixed[block] = torch.cat([general[block], prefixes[task][block]], 1)
        expected = gradient_id_scores(
            learner.network.backbone.vit, normalised(x[i : i + 1]), masks=masks, prefixes=[{}] * 3,
            head=head(learner), shared_prefixes=fixed, top_entries=3,
        )  # fmt: skip
        torch.testing.assert_close(found[i : i + 1], expected, rtol=1e-6, atol=1e-9)


@specs
def test_a_groups_pooled_evidence_is_the_gradient_of_its_mean_entropy(spec: DualPrompt) -> None:
    """One alpha for the whole batch, as in the published code; ours sums the samples' own gradients."""
    learner, x = learned(spec).learner, inputs(6, 5)
    network = learner.network
    groups = torch.tensor([0, 1, 0, 0, 1, 0])
    own = scores(learner, x)
    chosen = Policy("gradient-id", Pooling(6)).weights(own, groups).argmax(1)
    with learner.computing_in(torch.float64):
        for group in (0, 1):
            shared_alpha = torch.full((3,), 1 / 3, dtype=torch.float64, requires_grad=True)
            members = x[groups == group]
            with torch.no_grad():
                trunk = SharedPass(network, members).trunk
            features = network.top(trunk, mixture=shared_alpha.expand(len(members), 3))
            mean_entropy = largest_entropy(network.heads(features, range(3)), 3).mean()
            gradient = torch.autograd.grad(mean_entropy, shared_alpha)[0]
            torch.testing.assert_close(own[groups == group].mean(0), -gradient, rtol=1e-8, atol=1e-10)
            assert set(chosen[groups == group].tolist()) == {int((-gradient).argmax())}


@specs
def test_the_full_form_is_the_slow_loop_over_all_classes(spec: DualPrompt) -> None:
    learner, x = learned(spec).learner, inputs(4, 3)
    masks, prefixes, general = parts(learner)
    expected = gradient_id_scores(
        learner.network.backbone.vit, normalised(x), masks=masks, prefixes=prefixes, head=head(learner),
        shared_prefixes=general, top_entries=9,
    )  # fmt: skip
    torch.testing.assert_close(scores(learner, x, "gradient-id-full"), expected, rtol=1e-6, atol=1e-9)
    assert (expected - scores(learner, x)).abs().max() > 1e-4


def test_entropy_is_of_a_softmax_over_the_largest_logits_alone() -> None:
    logits = noise(4, 7, seed=1) * 3
    for entries in (1, 3, 7):
        p = logits.sort(1, descending=True).values[:, :entries].softmax(1)
        torch.testing.assert_close(p.sum(1), torch.ones(4, dtype=torch.float64))
        torch.testing.assert_close(largest_entropy(logits, entries), -(p * p.log()).sum(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("margin", [0.01, 1.0, 18.0, 80.0])
def test_a_sure_mixtures_scores_are_no_rounding_noise(margin: float, dtype: torch.dtype) -> None:
    """Of two logits, d apart: dH = p (1 - p) d; in float32 too, where 1 - p itself is rounding noise."""
    logits = torch.tensor([[margin, 0.0]], dtype=dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(largest_entropy(logits, 2).sum(), logits)
    slope = margin * math.exp(-margin) / (1 + math.exp(-margin)) ** 2
    assert gradient[0].tolist() == pytest.approx([-slope, slope], rel=1e-4)


@pytest.mark.parametrize(
    ("classes", "tasks", "expected"),
    [(100, 10, 10), (9, 3, 3), (38, 5, 7), (15, 10, 2), (10, 10, 2), (2, 1, 2), (1, 1, 1)],
)
def test_as_many_logits_as_a_task_has_classes_but_two_where_there_are_two(
    classes: int, tasks: int, expected: int
) -> None:
    assert GradientID().entries(classes, tasks) == expected


class Ensemble:
    """Linear networks, each with an opinion on its own inputs only, behind the face of a learner of masks.

    An input is its task and class; every network's logits on it are small noise, and its own task's has `scale` more
    for its class. The mixture's logits are the mean of theirs.
    """

    def __init__(self, sizes: list[int], scale: float, seed: int) -> None:
        self.network, self.num_tasks, self.trunk = self, len(sizes), torch.arange(sum(sizes)).double()[:, None]
        self.task_of = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        classes = torch.arange(sum(sizes))
        self.logits = 0.05 * noise(len(classes), len(sizes), len(classes), seed=seed)  # of input, network, class
        self.logits[classes, self.task_of, classes] += 1
        self.logits *= scale

    def top(self, trunk: Tensor, mixture: Tensor, prompts: None, among: None) -> Tensor:
        return torch.einsum("bt,btc->bc", mixture, self.logits)

    def heads(self, features: Tensor, tasks: range) -> Tensor:
        return features


class Pass:
    """What is shared of an ensemble's pass."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.trunk = Rows(ensemble.trunk)


class Rows:
    """Tokens that nothing reads but for their number and type."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)


@given(
    st.tuples(st.integers(2, 10), st.integers(1, 6)).map(lambda shape: [shape[1]] * shape[0]),
    st.floats(-4, 2.5),
    st.integers(0, 99),
    st.sampled_from(["gradient-id", "gradient-id-full"]),
)
@settings(deadline=None)
def test_of_networks_sure_of_their_own_inputs_the_right_one_is_named_at_any_scale(
    sizes: list[int], magnitude: float, seed: int, name: str
) -> None:
    """From a mixture that is all but undecided to one that is all but certain.

    Tasks have equally many classes: C/T is then what each has, and those of a small one are not outnumbered.
    Without renormalising, the terms -p log p of an unsure mixture *grow* with certainty, and this fails.
    """
    ensemble = Ensemble(sizes, 10.0**magnitude, seed)
    found = INFERENCES[name]().scores(ensemble, Pass(ensemble))  # type: ignore[arg-type]
    assert torch.equal(found.argmax(1), ensemble.task_of)


def certain(learner: Learner, x: Tensor, sure: int) -> None:
    """From ones, train task `sure`'s masks to lower its own entropy for x, and the others' to raise theirs."""
    network = learner.network
    for task in range(learner.num_tasks):
        adaptation = learner.slot_modules()["SoftMasks"]
        masks = list(adaptation.slot(task).requires_grad_().values())
        for mask in masks:
            mask.data.fill_(1.0)
        for _ in range(20):
            with torch.no_grad():
                trunk = SharedPass(network, x).trunk
            entropy = own_entropy(learner, trunk, task)
            gradients = torch.autograd.grad(entropy, masks)
            with torch.no_grad():
                for mask, gradient in zip(masks, gradients, strict=True):
                    mask -= (0.05 if task == sure else -0.05) * gradient / gradient.norm()


def own_entropy(learner: Learner, trunk, task: int) -> Tensor:
    logits = learner.network.heads(learner.network.top(trunk, task=task), range(learner.num_tasks))
    return largest_entropy(logits, 3).sum()


@pytest.mark.parametrize("name", ["gradient-id", "gradient-id-full"])
@each("scale", {f"{scale:g}": scale for scale in (1e-4, 0.01, 1.0, 5.0)}, ("5",))
@pytest.mark.parametrize("sure", [0, 1, 2])
def test_the_task_whose_network_is_certain_is_named(sure: int, scale: float, name: str) -> None:
    """The sign: scores are -dH/dalpha, so the highest is the task that lowers the entropy, at any scale of logits."""
    spec = DualPrompt(g_layers="none", e_layers="none", adapt=SoftMask((3, 4), "w/ FF"), storage="float32")
    learner, x = learned(spec).learner, inputs(1, 6)
    with torch.no_grad():
        for task in range(3):
            for value in learner.network.heads.slot(task).values():
                value *= scale
    with learner.computing_in(torch.float64):
        certain(learner, x, sure)
        trunk = SharedPass(learner.network, x).trunk
        entropies = torch.stack([own_entropy(learner, trunk, t) for t in range(3)])
    others = [t for t in range(3) if t != sure]
    assert entropies[sure] < entropies[others].min()
    assert scores(learner, x, name).argmax(1).tolist() == [sure]


@specs
def test_one_task_is_named_when_there_is_one(spec: DualPrompt) -> None:
    learner, x = learned(spec, 1).learner, inputs(3, 1)
    found = scores(learner, x)
    assert found.shape == (3, 1) and found.isfinite().all()


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 2, 1)])
def test_tasks_of_a_class_or_two_are_told_apart(sizes: tuple[int, ...]) -> None:
    """The entropy of one entry would be 0 whatever the weights, and so would every score."""
    learner = LEARNERS["qkv of one layer"].build(tiny_backbone(), 0)
    for size in sizes:
        learner.open_slots(size)
        learner.network.heads.slot(learner.num_tasks - 1)["weight"].data.normal_(generator=generator(learner.num_tasks))
        learner.close_slots()
    found = scores(learner, inputs(2, 1))
    assert found.shape == (2, 3) and found.isfinite().all() and found.std(1).min() > 0


@pytest.mark.parametrize("deviation", [0.3, 0.03, 0.003])
def test_bfloat16_ranks_tasks_as_float32_does_however_close_their_masks_are(deviation: float) -> None:
    """Matrix products in bfloat16 may round the scores, but not drown what differs between the tasks."""
    spec = DualPrompt(g_layers="none", e_layers="none", adapt=SoftMask((2,), "qkv", NOISY), storage="float32")
    learner, x = learned(spec).learner.float(), inputs(40, 7)
    for task in range(3):
        for mask in learner.slot_modules()["SoftMasks"].slot(task).values():
            mask.data.copy_(1 + deviation * noise(*mask.shape, seed=task))
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        with torch.no_grad(), learner.computing_in(dtype):
            found.append(INFERENCES["gradient-id"]().scores(learner, SharedPass(learner.network, x)))
    exact, rounded = (s - s.mean(1, keepdim=True) for s in found)
    assert (exact - rounded).norm() < 0.2 * exact.norm()
    assert (exact.argmax(1) == rounded.argmax(1)).float().mean() >= 0.9


def mixture(alpha: Tensor, components: Tensor) -> mixed_linear.MixedWeight:
    """The mixture of components [tasks, out, in]."""
    return mixed_linear.MixedWeight(alpha, components[0].shape, lambda task, rows: components[task][rows])


def test_alpha_gets_a_gradient_of_its_own_for_each_sample() -> None:
    """mixed_linear against autograd through an explicit weight per sample."""
    x, alpha = noise(4, 3, 5, seed=1).requires_grad_(), torch.full((4, 2), 0.5).double().requires_grad_()
    components, bias, out = noise(2, 6, 5, seed=2), noise(6, seed=3), noise(4, 3, 6, seed=4)
    mixed = mixed_linear.mixed_linear(x, mixture(alpha, components), bias)
    plain = torch.einsum("bni,bt,toi->bno", x, alpha, components) + bias
    torch.testing.assert_close(mixed, plain)
    torch.testing.assert_close(torch.autograd.grad(mixed, (x, alpha), out), torch.autograd.grad(plain, (x, alpha), out))


def test_mixed_linear_without_a_gradient_to_alpha() -> None:
    x, alpha = noise(2, 3, 5, seed=1).requires_grad_(), torch.full((2, 2), 0.5).double()
    components = noise(2, 6, 5, seed=2)
    weight = mixture(alpha, components)
    (gradient,) = torch.autograd.grad(mixed_linear.mixed_linear(x, weight, None).sum(), x)
    torch.testing.assert_close(gradient, components.mean(0).sum(0).expand_as(x))


def test_key_matched_prompts_need_masks() -> None:
    """With E-prompts alone nothing is left to mix: the inference is not offered, rather than failing."""
    learner = learned(LEARNERS["E only"]).learner
    assert isinstance(learner.network, AdaptedNetwork)
    assert "gradient-id-key-prompts" not in learner.task_inferences
    for name in learner.task_inferences:
        assert scores(learner, inputs(2), name).isfinite().all()
