"""CLIP-Prompt against transformers' own modules: loss, logits, Gradient ID; and what its parts must not touch."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from softtf.adaptations import Adapter, LoRA, Projection, SoftMask
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.inference import INFERENCES
from softtf.learners import (
    FT,
    L2P,
    NCM,
    CLIPPrompt,
    CLIPPromptPublished,
    CLIPZeroShot,
    DualPrompt,
    LearnerSpec,
    LinearHead,
    RanPAC,
)
from softtf.learners.base import Batch
from softtf.learners.class_table import ClassTable
from softtf.learners.clip_prompt import CLIPPromptLearner
from softtf.learners.text_heads import TextHeads
from softtf.network import SharedPass
from softtf.saving.learner import save_task
from softtf.training.config import TrainConfig
from support.tiny import (
    TRAIN,
    classifier,
    exact,
    inputs,
    learned,
    mask_values,
    noise,
    pictures,
    task_data,
    task_labels,
    tiny_backbone,
    tiny_clip,
    train_task,
    training_of,
)

MASK = SoftMask((2, 4), "w/ FF", "uniform(0.5,1.5)")
NAMES = {"query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj"}
NAMES |= {"proj": "self_attn.out_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}


def transformers_image_features(learner: CLIPPromptLearner, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Projected features at length 1 by transformers' own blocks, with weights put in and the image prompt behind."""
    clip = learner.network.backbone
    prompt = learner.prompts()["image"].parameter.expand(len(x), -1, -1)
    tokens = clip.embeddings((x - clip.mean) / clip.std)
    if learner.spec.before_norm:  # CLIP-PGP puts it between [class] and patches, which is the same without positions
        hidden = clip.first_norm(torch.cat([tokens[:, :1], prompt, tokens[:, 1:]], 1))
    else:
        hidden = torch.cat([clip.first_norm(tokens), prompt], 1)
    for block, layer in enumerate(clip.layers):
        own = {n.partition("|")[2]: w for n, w in weights.items() if int(n.partition("|")[0]) == block}
        hidden = functional_call(layer, own, (hidden, None))
    return F.normalize(F.linear(clip.norm(hidden[:, 0]), clip.projection.weight), dim=-1)


def masked(learner: CLIPPromptLearner, mix: Callable[[list[Tensor]], Tensor]) -> dict[str, Tensor]:
    """W * mix of all tasks' masks, by block and transformers' name."""
    masks = [mask_values(learner.network.adaptations[1].slot(t)) for t in range(learner.num_tasks)]
    return {
        f"{block}|{NAMES[name]}.weight": learner.network.backbone.linear(block, name).weight
        * mix([m[block, name].detach() for m in masks])
        for block, name in masks[0]
    }


@pytest.mark.parametrize("spec", [CLIPPrompt(2, 3, adapt=MASK), CLIPPromptPublished(2, 3, adapt=MASK)])
def test_logits_are_scaled_cosines_of_the_tasks_image_tower_and_every_classes_text(spec: CLIPPrompt) -> None:
    learner, x = learned(spec).learner, inputs(4, 1)
    texts = torch.cat([learner.network.heads.slot(t)["features"] for t in range(3)])
    with torch.no_grad(), learner.computing_in(torch.float64):
        trunk = SharedPass(learner.network, x).trunk
        for task in range(3):
            images = transformers_image_features(learner, x, masked(learner, lambda m, t=task: m[t]))
            expected = torch.tensor(2.0).double().exp() * images @ texts.T
            torch.testing.assert_close(learner.logits(trunk, task), expected, rtol=0, atol=1e-9)


def test_gradient_id_is_the_slow_loop_over_transformers_own_blocks() -> None:
    learner, x = learned(CLIPPrompt(2, 3, adapt=MASK)).learner, inputs(3, 3)
    texts = torch.cat([learner.network.heads.slot(t)["features"] for t in range(3)])
    expected = []
    for sample in x:
        alpha = torch.full((3,), 1 / 3, dtype=torch.float64, requires_grad=True)
        weights = masked(learner, lambda m, a=alpha: sum(share * part for share, part in zip(a, m, strict=True)))
        logits = (
            torch.tensor(2.0).double().exp() * transformers_image_features(learner, sample[None], weights) @ texts.T
        )
        expected.append(-torch.autograd.grad(entropy_of_top(logits[0], 3), alpha)[0])
    with torch.no_grad(), learner.computing_in(torch.float64):
        found = INFERENCES["gradient-id"]().scores(learner, SharedPass(learner.network, x))
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-6, atol=1e-9)
    assert found.std(1).min() > 1e-4


def entropy_of_top(logits: Tensor, entries: int) -> Tensor:
    """Of the softmax over the largest logits alone, term by term."""
    p = logits.sort(descending=True).values[:entries].softmax(0)
    return -torch.stack([x * x.log() for x in p]).sum()


def begun(spec: CLIPPrompt, tasks: int = 1) -> CLIPPromptLearner:
    """A learner with finished tasks and one more that has just begun, in float64."""
    learner, classes = spec.new_learner(tiny_clip(), 3), ClassTable()
    assert isinstance(learner, CLIPPromptLearner)
    for task in range(tasks):
        train_task(learner, classes, task)
    learner.texts.name(task_labels(tasks))
    learner.open_slots(len(task_labels(tasks)))
    return learner.double()


FORMS = [(CLIPPrompt(2, 3), "a photo of a {}.", 2), (CLIPPromptPublished(2, 3), "{}.", 1)]


@pytest.mark.parametrize(("spec", "template", "prompts_of_task"), FORMS)
def test_the_loss_compares_with_the_texts_of_the_tasks_own_classes_which_have_their_names(
    spec: CLIPPrompt, template: str, prompts_of_task: int
) -> None:
    """Each class has a text prompt of its own, or as published all of the task's have one."""
    learner, x = begun(spec), inputs(4, 2)
    own = torch.tensor([0, 1, 1, 0])
    with learner.computing_in(torch.float64):
        loss = learner.loss(Batch(x, own + 3, torch.arange(4)))
        text = learner.texts.tower
        prompts = learner.heads.slot(1)["prompts"]
        assert prompts.shape == (prompts_of_task, 3, 24)
        captions = [template.replace("{}", str(label)) for label in task_labels(1)]
        ids = text.ids(captions)
        each = torch.cat([prompts] * (2 // prompts_of_task))
        pooled = text.pool(text.run(text.embed(ids, each), 0, text.depth))
    texts = F.normalize(F.linear(pooled, text.projection.weight), dim=-1)
    images = transformers_image_features(learner, x, {})
    expected = F.cross_entropy(torch.tensor(2.0).double().exp() * images @ texts.T, own)
    assert loss.keys() == {"cross_entropy"}
    torch.testing.assert_close(loss["cross_entropy"], expected)
    loss["cross_entropy"].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in learner.trained_parameters().values())


def test_as_published_are_the_settings_of_clip_pgps_code() -> None:
    spec = CLIPPromptPublished()
    assert (spec.text_length, spec.template, spec.text_prompts, spec.before_norm) == (16, "{}.", "task", True)
    train = TrainConfig(**spec.training)
    rates = [t.learning_rate * t.batch_size / 256 for t in (train.of_task(0), train.of_task(1))]
    assert rates == pytest.approx([0.001, 0.01])
    assert [train.of_task(t).weight_decay for t in range(3)] == [5e-4, 2e-4, 2e-4]
    assert (train.optimizer, train.schedule, train.batch_size, train.epochs, train.clip_norm) == (
        *("sgd", "cosine", 32, 5),
        None,
    )
    assert ContinualClassifier(tiny_clip(), replace(spec, text_length=3), device="cpu").train_config == train
    learner = learned(CLIPPromptPublished(2, 3)).learner
    assert [learner.network.heads.num_parameters(t) for t in range(3)] == [3 * 24] * 3


def test_the_published_prompt_meets_the_first_norm_and_its_basis_is_of_tokens_before_it() -> None:
    learner, x = begun(CLIPPromptPublished(2, 3, projection=Projection(0.9))), inputs(3, 1)
    clip = learner.network.backbone
    prompt = learner.prompts()["image"].parameter
    assert torch.equal(learner.network.adaptations[0].appended(None)[0], clip.first_norm(prompt))
    met = learner.met(SharedPass(learner.network, x))["image"]
    assert torch.equal(met, clip.embeddings((x - clip.mean) / clip.std).flatten(0, 1))
    ours = begun(CLIPPrompt(2, 3, projection=Projection(0.9)))
    assert torch.equal(ours.met(SharedPass(ours.network, x))["image"], clip.first_norm(met).view_as(met))


def test_underscores_in_names_are_spaces() -> None:
    learner = CLIPPrompt(template="{} it is").new_learner(tiny_clip(), 0)
    assert isinstance(learner, CLIPPromptLearner)
    learner.texts.name(["oak_tree", 7])
    assert [bytes(i for i in row if i < 256) for row in learner.texts.ids.tolist()] == [b"oak tree it is", b"7 it is"]


def test_masks_of_one_tower_leave_the_other_as_it_is() -> None:
    x = inputs(3, 1)
    plain, image, text = (
        begun(spec, tasks=0)
        for spec in (CLIPPrompt(2, 3), CLIPPrompt(2, 3, adapt=MASK), CLIPPrompt(2, 3, adapt_text=MASK))
    )

    def both(learner: CLIPPromptLearner) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), learner.computing_in(torch.float64):
            images = learner.network.top(SharedPass(learner.network, x).trunk, task=0)
            return images, learner.texts.features(torch.zeros(3, 3, 24, dtype=torch.float64), 0)

    images, texts = both(plain)
    assert torch.equal(both(image)[1], texts) and torch.equal(both(text)[0], images)
    assert (both(image)[0] - images).abs().max() > 1e-3 and (both(text)[1] - texts).abs().max() > 1e-3


def test_a_finished_task_is_its_text_features_whatever_becomes_of_the_text_tower() -> None:
    model = classifier(CLIPPrompt(2, 3, adapt=MASK, adapt_text=MASK))
    images = pictures(5, 3)
    before = model.predict_proba(images)
    texts = torch.cat([model.learner.network.heads.slot(t)["features"] for t in range(3)])
    torch.testing.assert_close(texts.norm(dim=1).float(), torch.ones(9))
    assert all(set(model.learner.network.heads.slot(t)) == {"features"} for t in range(3))
    for parameter in model.learner.network.backbone.text.parameters():
        parameter.data.zero_()
    assert torch.equal(model.predict_proba(images), before)
    assert model.learner.network.heads.num_parameters(0) == 3 * 3 * 24  # classes, prompt tokens, width


def test_the_image_prompts_gradient_leaves_the_space_of_earlier_tasks() -> None:
    learner = begun(CLIPPrompt(2, 3, projection=Projection(0.9)), tasks=2)
    (basis,) = [v for n, v in learner.memory.items() if n.startswith("basis.")]
    prompt = learner.prompts()["image"].parameter
    prompt.grad = noise(*prompt.shape)
    learner.after_backward()
    assert 0 < basis.shape[1] < 32
    assert (prompt.grad @ basis.double()).abs().max() < 1e-5 < prompt.grad.abs().max()


def test_zero_shot_is_the_nearest_text() -> None:
    model = exact(classifier(CLIPZeroShot("one {} there")))
    clip, x = model.learner.network.backbone, inputs(4, 1)
    labels = [label for t in range(3) for label in task_labels(t)]
    texts = clip.text.ids([f"one {label} there" for label in labels])
    text = F.normalize(clip.text.project(clip.text.pool(clip.text.run(clip.text.embed(texts), 0, 4))), dim=-1)
    image = F.normalize(clip.project(clip.pool(clip.run(clip.embed(x), 0, 4))), dim=-1)
    heads = model.learner.network.heads
    assert isinstance(heads, TextHeads) and heads.num_parameters(1) == 0
    with model.learner.computing_in(torch.float64):
        found = model.learner.logits(SharedPass(model.learner.network, x).trunk, 0)
    torch.testing.assert_close(found, clip.logit_scale.exp() * image @ text.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (lambda: CLIPPrompt(template="a photo"), "must hold {} once"),
        (lambda: CLIPZeroShot("{} and {}"), "must hold {} once"),
        (lambda: CLIPPrompt(length=0), "clip-prompt.length must be between 1 and"),
        (lambda: CLIPPrompt(text_length=0), "text_length must be between 1 and"),
        (lambda: CLIPPrompt(key_scale=0), "key_scale"),
        (lambda: CLIPPrompt(text_prompts="tasks"), "text_prompts: unknown value 'tasks'; did you mean 'task'"),
        (lambda: CLIPPrompt().new_learner(tiny_backbone(), 0), "no text tower; give a CLIP"),
        (lambda: CLIPZeroShot().new_learner(tiny_backbone(), 0), "no text tower; give a CLIP"),
        (lambda: CLIPPrompt(adapt=SoftMask("12")).new_learner(tiny_clip(), 0), "no layer 12"),
    ],
)
def test_what_does_not_fit_is_refused(spec: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        spec()


def test_a_name_that_is_too_long_is_refused_and_leaves_the_classifier_as_it_was() -> None:
    model = ContinualClassifier(tiny_clip(), CLIPPrompt(2, 3), TRAIN, device="cpu", seed=3)
    model.learn(task_data(0), progress=False)
    images = pictures(4, 1)
    before = model.predict_proba(images)
    with pytest.raises(UserError, match="reads 40 at most"):
        model.learn((list(pictures(2)), ["short", "a name of very many letters, too many"]), progress=False)
    assert model.num_tasks == 1 and torch.equal(model.predict_proba(images), before)
    model.learn(task_data(1), progress=False)


ON_IMAGES: dict[str, LearnerSpec] = {
    "linear probe": LinearHead(),
    "NCM": NCM(),
    "RanPAC": RanPAC(32),
    "FT": FT(),
    "L2P + Soft-TF": L2P(4, 2, 2, adapt=MASK),
    "DualPrompt + PGP + Soft-TF": DualPrompt(e_layers=(3,), adapt=MASK, projection=Projection()),
    "DualPrompt + LoRA": DualPrompt(e_layers=(3,), adapt=LoRA((3, 4), 3)),
    "DualPrompt + Adapter": DualPrompt(e_layers=(3,), adapt=Adapter((3, 4), 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("spec", ON_IMAGES.values(), ids=ON_IMAGES)
def test_every_kind_of_method_learns_on_the_image_tower(spec: LearnerSpec, tmp_path) -> None:
    """Its own laws hold on any backbone; here: it trains, answers alone as in a batch, and is loaded as it was."""
    backbone = tiny_clip()
    before = backbone.weights_hash()
    model = ContinualClassifier(backbone, spec, training_of(spec), device="cpu", seed=3)
    model.header.write(tmp_path)
    for task in range(2):
        model.learn(task_data(task), progress=False)
        save_task(tmp_path, model.learner, model.classes, task)
    images = pictures(5, 4)
    found = model.predict_proba(images)
    alone = torch.cat([model.predict_proba(images[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(alone, found, rtol=0, atol=1e-5)
    again = ContinualClassifier.from_pretrained(tmp_path, backbone=tiny_clip(), device="cpu")
    assert torch.equal(again.predict_proba(images), found) and backbone.weights_hash() == before
