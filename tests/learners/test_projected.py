"""PGP in training: which gradients are projected, onto the complement of which space, and what is remembered of it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from learners.test_dual_prompt import batch_of
from softtf.adaptations import Projection, Site, SoftMask
from softtf.adaptations.projection import extended
from softtf.errors import UserError
from softtf.learners import L2P, DualPrompt, Learner, LearnerSpec
from softtf.learners.class_table import ClassTable
from softtf.learners.projected import BASIS, real_rows
from softtf.network import SharedPass
from softtf.training.data import begin_training
from softtf.training.task import TaskTraining
from support.tiny import TRAIN, assert_same, inputs, learned, task_data, tiny_backbone, train_task

MASK = SoftMask((3, 4), "w/ FF", "uniform(0.5,1.5)")
PGP = Projection(0.7)
SPECS: dict[str, LearnerSpec] = {
    "L2P": L2P(4, 3, 2, projection=PGP),
    "L2P + Soft-TF": L2P(4, 3, 2, adapt=MASK, projection=PGP),
    "L2P, keys too": L2P(4, 3, 2, projection=PGP, key_eps=0.97),
    "DualPrompt": DualPrompt((1, 2), 3, (3, 4), 2, projection=PGP),
    "DualPrompt + Soft-TF": DualPrompt((1, 3), 3, (2, 3), 2, adapt=MASK, projection=PGP),
}
specs = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def begun(spec: LearnerSpec) -> tuple[Learner, TaskTraining]:
    """A learner of one task whose second is about to be trained."""
    learner, classes = spec.build(tiny_backbone(), 3), ClassTable()
    train_task(learner, classes, 0)
    return learner, begin_training(learner, classes, task_data(1), "second", TRAIN)


def gradients(learner: Learner) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in learner.trained_parameters().items() if p.grad is not None}


def prompt_names(learner: Learner) -> set[str]:
    prompts = {id(prompt.parameter) for prompt in learner.prompts().values()}
    return {name for name, p in learner.trained_parameters().items() if id(p) in prompts}


@specs
def test_every_step_leaves_the_prompts_gradients_orthogonal_to_the_kept_basis(spec: LearnerSpec) -> None:
    learner, training = begun(spec)
    project, taken = learner.after_backward, []

    def checked() -> None:
        before = gradients(learner)
        parts = {name: parameter.grad[part].clone() for name, (parameter, part, *_) in learner.prompts().items()}
        project()
        after = gradients(learner)
        for name, (parameter, part, *_) in learner.prompts().items():
            basis, norm = learner.memory[BASIS + name], parts[name].norm()
            assert norm > 0 and (parameter.grad[part] @ basis).norm() <= 1e-5 * norm
            assert (parts[name] - parameter.grad[part] - parts[name] @ basis @ basis.T).norm() <= 1e-5 * norm
            taken.append(float((parts[name] @ basis).norm() / norm))
        for name in before:
            assert torch.equal(before[name], after[name]) != (name in prompt_names(learner))

    learner.after_backward = checked  # type: ignore[method-assign]
    training.run_epoch()
    assert len(taken) == 2 * len(learner.prompts()) and max(taken) > 0.1


@specs
def test_the_first_task_is_learned_as_without_projection(spec: Any) -> None:
    ends = []
    for projection in (PGP, None):
        free = {"projection": None, **({"key_eps": None} if isinstance(spec, L2P) else {})}
        learner = (spec if projection else replace(spec, **free)).build(tiny_backbone(), 3)
        train_task(learner, ClassTable(), 0)
        ends.append((learner.task_state_dict(0), dict(learner.shared_parameters()), learner.memory))
    assert_same(ends[0][0], ends[1][0])
    assert_same(ends[0][1], ends[1][1])
    assert ends[0][2] and not ends[1][2]


def test_both_halves_of_every_prefix_and_the_e_prompt_in_training_are_projected() -> None:
    learner, _ = begun(SPECS["DualPrompt + Soft-TF"])
    general = [f"GeneralPrefix.layer{layer}.{half}" for layer in ("01", "03") for half in ("keys", "values")]
    expert = [f"ExpertPrefix.layer{layer}.{half}" for layer in ("02", "03") for half in ("keys", "values")]
    assert set(learner.prompts()) == {*general, *expert}
    assert set(learner.memory) == {BASIS + name for name in learner.prompts()}
    slot = learner.slot_modules()["ExpertPrefix"].slot(1)
    keys, values = (learner.prompts()[f"ExpertPrefix.layer02.{half}"] for half in ("keys", "values"))
    assert [(p.parameter, p.part) for p in (keys, values)] == [(slot["layer02_prefix"], part) for part in (0, 1)]


def test_keys_meet_the_blocks_queries_and_values_its_values() -> None:
    """Of the current task's network: its masks, its prompts; in the last block only what is read has queries."""
    spec = DualPrompt((1,), 3, (3, 4), 2, adapt=SoftMask((3,), "qkv", "uniform(0.5,1.5)"), projection=PGP)
    learner, x = learned(spec, 2).learner, inputs(4, 2)
    vit, task = learner.network.backbone.vit, learner.num_tasks - 1
    weight = vit.blocks[2].attn.qkv.weight * learner.slot_modules()["SoftMasks"].weight(
        Site(2, "qkv"), torch.ones_like(vit.blocks[2].attn.qkv.weight), task
    )
    with torch.no_grad(), learner.computing_in(torch.float64):
        shared = SharedPass(learner.network, x)
        found = learner.met(shared)
        entering = {block: tokens.x for block, tokens, _ in learner.network.walk(shared.stem, task)}
        torch.testing.assert_close(entering[0], learner.network.backbone.embed(x).x)
        for layer, own in ((1, vit.blocks[0].attn.qkv.weight), (3, weight), (4, vit.blocks[3].attn.qkv.weight)):
            block = vit.blocks[layer - 1]
            qkv = block.norm1(entering[layer - 1]) @ own.T + block.attn.qkv.bias
            kind = "GeneralPrefix" if layer == 1 else "ExpertPrefix"
            queries = qkv[:, :1, :32] if layer == 4 else qkv[:, :, :32]
            torch.testing.assert_close(found[f"{kind}.layer0{layer}.keys"], queries.flatten(0, 1))
            torch.testing.assert_close(found[f"{kind}.layer0{layer}.values"], qkv[:, :, 64:].flatten(0, 1))


@specs
def test_a_basis_is_that_of_all_samples_rows_and_of_the_prompts(spec: LearnerSpec) -> None:
    learner, classes = spec.build(tiny_backbone(), 3), ClassTable()
    training = begin_training(learner, classes, task_data(0), "first", TRAIN)
    training.run_epoch()
    learner.extend_bases(training.loader)
    seen = torch.cat(list(learner._some(training.loader, 768)))
    assert len(seen) == 12
    with torch.no_grad():
        rows = learner.met(SharedPass(learner.network, seen))
    for name, (parameter, part, *_) in learner.prompts().items():
        prompt = parameter.detach()[part].reshape(-1, 32)
        inputs_moment = rows[name].double().T @ rows[name].double() / len(rows[name])
        moment = inputs_moment + prompt.double().T @ prompt.double() / len(prompt)
        expected = extended(None, inputs_moment, 0.97) if name == "keys" else extended(None, moment, 0.7)
        basis = learner.memory[BASIS + name]
        torch.testing.assert_close(basis @ basis.T, expected @ expected.T, rtol=0, atol=1e-4)
        torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]), rtol=0, atol=1e-5)
        assert 1 <= basis.shape[1] < 32


@specs
def test_the_same_inputs_again_add_nothing_and_a_new_task_only_adds(spec: LearnerSpec) -> None:
    learner, classes = spec.build(tiny_backbone(), 3), ClassTable()
    training = begin_training(learner, classes, task_data(0), "first", TRAIN)
    training.run_epoch()
    learner.extend_bases(training.loader)
    first = dict(learner.memory)
    learner.extend_bases(training.loader)
    assert_same(learner.memory, first)
    learner.close_slots()
    train_task(learner, classes, 1)
    for name, basis in learner.memory.items():
        kept = first[name]
        torch.testing.assert_close(basis @ (basis.T @ kept), kept, rtol=0, atol=1e-5)
        assert basis.shape[1] >= kept.shape[1]


def test_no_more_samples_are_used_than_are_asked_for() -> None:
    learner, training = begun(L2P(4, 2, 2, projection=Projection(samples=6)))
    assert [len(x) for x in learner._some(training.loader, 6)] == [4, 2]
    assert [len(x) for x in learner._some(training.loader, 768)] == [4, 4]
    first, again = (torch.cat(list(learner._some(training.loader, 6))) for _ in range(2))
    assert torch.equal(first, again)


def test_a_g_prompt_that_is_frozen_needs_no_basis() -> None:
    spec = DualPrompt((1,), 2, (3,), 2, freeze_g_after_first=True, projection=PGP)
    learner, classes = spec.build(tiny_backbone(), 3), ClassTable()
    train_task(learner, classes, 0)
    before = {n: b for n, b in learner.memory.items() if "General" in n}
    train_task(learner, classes, 1)
    assert all(learner.memory[n] is b for n, b in before.items())


def test_padding_has_no_rows() -> None:
    x, mask = torch.arange(12.0).view(2, 3, 2), torch.tensor([[True, False, True], [True, True, False]])
    assert real_rows(x, mask).tolist() == [[0, 1], [4, 5], [6, 7], [8, 9]]
    assert real_rows(x[:, :1], mask).tolist() == [[0, 1], [6, 7]]
    assert torch.equal(real_rows(x, None), x.view(6, 2))


def test_with_the_whole_spectrum_a_step_along_the_gradient_keeps_old_products_as_they_were() -> None:
    """x dp^T = 0 and p dp^T = 0, what PGP asks for; by plain descent, which keeps the gradient's direction."""
    learner, classes = L2P(4, 3, 2, projection=Projection(1.0, 2)).build(tiny_backbone(), 3), ClassTable()
    training = begin_training(learner, classes, task_data(0), "first", TRAIN)
    training.run_epoch()
    learner.extend_bases(training.loader)
    prompts = learner.pool.prompts
    with torch.no_grad():
        met = learner.met(SharedPass(learner.network, next(learner._some(training.loader, 2))))["pool"]
    old = torch.cat([met.float(), prompts.detach().flatten(0, 1)])
    before = old @ prompts.detach().flatten(0, 1).T
    sum(learner.loss(batch_of(learner, inputs(4, 1), torch.tensor([0, 1, 0, 1]))).values()).backward()
    learner.after_backward()
    step = prompts.grad / prompts.grad.norm()
    torch.testing.assert_close(old @ (prompts - step).detach().flatten(0, 1).T, before, rtol=0, atol=1e-3)
    assert (old @ step.flatten(0, 1).T).abs().max() < 1e-3 < step.abs().max()


def test_keys_are_projected_out_of_the_queries_only_if_they_are_asked_to_be() -> None:
    """q dk^T = 0 with the whole spectrum: an old input's similarity keeps the numerator that it had."""
    spec = L2P(4, 3, 2, projection=Projection(1.0, 2), key_eps=1.0)
    learner, classes = spec.build(tiny_backbone(), 3), ClassTable()
    assert set(replace(spec, key_eps=None).build(tiny_backbone(), 3).prompts()) == {"pool"}
    training = begin_training(learner, classes, task_data(0), "first", TRAIN)
    training.run_epoch()
    learner.extend_bases(training.loader)
    with torch.no_grad():
        old = SharedPass(learner.network, next(learner._some(training.loader, 2))).query.float()
    sum(learner.loss(batch_of(learner, inputs(4, 1), torch.tensor([0, 1, 0, 1]))).values()).backward()
    free = learner.pool.keys.grad.clone()
    learner.after_backward()
    assert (old @ free.T).abs().max() > 1e-4 > 20 * (old @ learner.pool.keys.grad.T).abs().max()
    assert learner.pool.keys.grad.norm() > 0.1 * free.norm()


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"key_eps": 0.0, "projection": PGP}, "key_eps must be above 0")]
    + [({"key_eps": 0.97}, "key_eps 0.97 projects nothing without a projection")],
)
def test_a_share_of_keys_that_makes_no_sense_is_refused(settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        L2P(**settings)


def test_the_published_spectrum_is_what_a_learner_keeps() -> None:
    spec = DualPrompt((1,), 3, (3,), 2, projection=replace(PGP, spectrum="published"))
    ours, published = (learned(s, 2).learner.memory for s in (replace(spec, projection=PGP), spec))
    assert ours.keys() == published.keys()
    assert sum(b.shape[1] for b in published.values()) < sum(b.shape[1] for b in ours.values())
