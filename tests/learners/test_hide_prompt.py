"""HiDe-Prompt's prefixes, losses and task inference, and NoRGa's gate, against slow forms."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from softtf.adaptations.base import Selection
from softtf.adaptations.blended_prefix import BlendedPrefix, PrefixGate
from softtf.backbones.attention import attention
from softtf.inference import INFERENCES
from softtf.learners import DualPrompt, HiDePrompt, NoRGa
from softtf.learners.class_table import ClassTable
from softtf.learners.hide_prompt import HiDePromptLearner
from softtf.learners.task_identity import tii_aligned, tii_logits, tii_started, tii_trained
from softtf.network import SharedPass
from softtf.statistics.class_gaussians import add_gaussians
from support.tiny import generator, inputs, noise, snapshot, tiny_backbone, train_task
from support.tuned import PLAIN, trained

SPEC = HiDePrompt((2, 3), 2, blend=0.2, align_epochs=2, align_samples=6)
GATED = NoRGa((2, 3), 2, align_epochs=2, align_samples=6, align_rate=0.01)


def learned(spec: HiDePrompt, tasks: int = 3) -> HiDePromptLearner:
    learner = trained(spec, tasks)
    assert isinstance(learner, HiDePromptLearner)
    return learner


def test_a_prefix_in_training_has_its_share_of_the_earlier_ones_and_keeps_it() -> None:
    prefix = BlendedPrefix((1,), 2, 6)
    prefix.share = 0.2
    for task in range(3):
        prefix.add_task(2, generator(task))
        for value in prefix.slot(task).values():
            value.data.copy_(noise(2, 2, 6, seed=task))
    own = [prefix.slot(t)["layer02_prefix"].detach().clone() for t in range(3)]
    expected = 0.8 * own[2] + 0.2 * (own[0] + own[1]) / 2
    found = prefix.prefix(1, Selection(2))
    assert found is not None
    torch.testing.assert_close(found[0].detach(), expected)
    prefix.settle()
    prefix.freeze()
    found = prefix.prefix(1, Selection(2))
    assert found is not None
    torch.testing.assert_close(found[0], expected)
    assert torch.equal(prefix.slot(0)["layer02_prefix"], own[0]) and prefix.prefix(0, Selection(2)) is None


def test_alone_a_first_prefix_is_trained_as_dual_prompts_e_prompt() -> None:
    ours = learned(replace(SPEC, regularisation=0.0, head_rate=1.0), 1)
    plain = DualPrompt(g_layers="none", e_layers=(2, 3), e_length=2, key_weight=0).new_learner(tiny_backbone(), 3)
    train_task(plain, ClassTable(), 0, PLAIN)
    first, second = ours.task_state_dict(0), plain.task_state_dict(0)
    for name in ("head.weight", "head.bias"):
        torch.testing.assert_close(first[name], second[name])
    for block in ("layer02_prefix", "layer03_prefix"):
        torch.testing.assert_close(first[f"BlendedPrefix.{block}"], second[f"ExpertPrefix.{block}"])


def test_the_classifier_on_frozen_features_is_a_residual_mlp_a_norm_and_a_linear_head() -> None:
    model = {name: value + 0.1 for name, value in tii_started({}, 3, 6, generator(0)).items()}
    z = noise(4, 6, seed=1).float()
    for row, found in zip(z, tii_logits(z, model), strict=True):
        hidden = F.gelu(model["w1"] @ row + model["b1"])
        mapped = row + model["w2"] @ hidden + model["b2"]
        g = (mapped - mapped.mean()) / (mapped.var(correction=0) + 1e-5).sqrt() * model["norm_weight"]
        torch.testing.assert_close(found, model["weight"] @ (g + model["norm_bias"]) + model["bias"])
    more = tii_started(model, 2, 6, generator(1))
    assert more["weight"].shape == (5, 6) and torch.equal(more["weight"][:3], model["weight"])
    assert torch.equal(more["w1"], model["w1"])


def test_it_learns_a_tasks_own_classes_and_alignment_tells_tasks_apart() -> None:
    columns = torch.arange(6).repeat_interleave(30)
    z = (3 * noise(6, 8, seed=1)[columns] + noise(180, 8, seed=2)).float()
    first, second = columns < 3, columns >= 3
    model = tii_trained(tii_started({}, 3, 8, generator(0)), z[first], columns[first], 0, 40, 0.01, generator(1))
    assert float((tii_logits(z[first], model).argmax(1) == columns[first]).float().mean()) > 0.95
    begun = tii_started(model, 3, 8, generator(2))
    model = tii_trained(begun, z[second], columns[second], 3, 40, 0.01, generator(3))
    assert torch.equal(model["weight"][:3], begun["weight"][:3])  # the loss is over own classes
    gaussians = add_gaussians({}, z, columns)
    spec = replace(SPEC, align_epochs=20, align_samples=20, align_rate=0.05)
    aligned = tii_aligned(model, gaussians, spec, generator(4))
    assert float((tii_logits(z, aligned).argmax(1) == columns).float().mean()) > 0.95


def test_the_task_is_that_of_the_likeliest_class() -> None:
    learner, x = learned(SPEC), inputs(6, 3)
    with torch.no_grad():
        shared = SharedPass(learner.network, x)
        scores = INFERENCES["tii"]().scores(learner, shared)
        best = learner.identity_logits(shared.query).argmax(1)
    assert torch.equal(scores.argmax(1), learner.column_tasks()[best])
    assert learner.policies == ("tii", "feature-id")


@pytest.mark.parametrize("mask", [None, torch.tensor([[True, True, False], [True, True, True]])])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_gate_is_added_to_the_scores_of_the_prefix_alone(mask: Tensor | None, dtype: torch.dtype) -> None:
    q, k, v = (noise(2, 2, 3, 4, seed=s) for s in range(3))
    prefix, alpha, tau = noise(1, 2, 2, 8, seed=5), 1.5, 0.7
    adaptation = PrefixGate((0,), "sigmoid").double()
    adaptation.add_task(1, generator(0))
    adaptation.double()
    adaptation.slot(0)["layer01_alpha"].data.fill_(alpha)
    adaptation.slot(0)["layer01_tau"].data.fill_(tau)
    gate = adaptation.gate(0, Selection(2))
    with torch.no_grad():
        found = attention(*(x.to(dtype) for x in (q, k, v)), prefix.to(dtype), mask, gate=gate)
    p_k, p_v = prefix[0].view(2, 2, 2, 4)  # [keys or values, length, heads, d]
    for b in range(2):
        for h in range(2):
            for i in range(3):
                scores = []
                for j in range(2):
                    s = float(q[b, h, i] @ p_k[j, h]) / 2
                    scores.append(s + alpha / (1 + math.exp(-tau * s)))
                real = [j for j in range(3) if mask is None or mask[b, j]]
                scores += [float(q[b, h, i] @ k[b, h, j]) / 2 for j in real]
                weights = torch.tensor(scores, dtype=torch.float64).softmax(0)
                values = torch.stack([*(p_v[j, h] for j in range(2)), *(v[b, h, j] for j in real)])
                tolerance = 1e-9 if dtype == torch.float64 else 0.05
                expected = (weights @ values).to(found.dtype)
                torch.testing.assert_close(found[b, i, 4 * h : 4 * h + 4], expected, rtol=tolerance, atol=tolerance)


def test_a_gate_of_zero_changes_nothing_and_the_first_task_alone_trains_it() -> None:
    learner, classes, x = GATED.new_learner(tiny_backbone(), 3), ClassTable(), inputs(3)
    train_task(learner, classes, 0, PLAIN)
    gates = {n: v for n, v in snapshot(learner).items() if "PrefixGate" in n}
    assert len(gates) == 4 and all(not torch.equal(v, torch.ones_like(v)) for v in gates.values())
    train_task(learner, classes, 1, PLAIN)
    assert all(torch.equal(snapshot(learner)[n], v) for n, v in gates.items())
    with torch.no_grad():
        trunk = SharedPass(learner.network, x).trunk
        gated = learner.network.top(trunk, task=1)
        for value in learner.slot_modules()["PrefixGate"].slot(0).values():
            value.data.zero_()
        plain = learner.network.top(trunk, task=1)
        learner.network.adaptations[1].blocks = frozenset()
        torch.testing.assert_close(learner.network.top(trunk, task=1), plain)
    assert not torch.allclose(gated, plain)


def test_old_networks_and_their_prefixes_stay() -> None:
    learner, classes, x = SPEC.new_learner(tiny_backbone(), 3), ClassTable(), inputs(3)
    tops: list[Tensor] = []
    for task in range(3):
        train_task(learner, classes, task, PLAIN)
        with torch.no_grad():
            trunk = SharedPass(learner.network, x).trunk
            now = [learner.network.top(trunk, task=t) for t in range(task + 1)]
        assert all(torch.equal(a, b) for a, b in zip(now, tops, strict=False))
        tops = now
