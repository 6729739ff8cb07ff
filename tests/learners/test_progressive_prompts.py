"""Progressive Prompts: what stands beside the input, what is kept, and that the task must be given."""

import pytest
import torch
from torch import Tensor

from references.vit import vit_forward
from softtf.classifier import ContinualClassifier
from softtf.errors import UserError
from softtf.learners import Learner, ProgressivePrompts
from softtf.network import SharedPass
from softtf.runs.config import EvaluateConfig
from support.tiny import CLASSES, MEAN, STD, classifier, exact, inputs, pictures, task_data, tiny_backbone
from support.tuned import PLAIN, assert_gradients, cross_entropy, in_task, loss_of, whole_batch

SPEC = ProgressivePrompts(length=3, mlp=5)


def slow_features(learner: Learner, x: Tensor, task: int) -> Tensor:
    """The output at the [class] token, with the prompts of the tasks so far before it."""
    (prompts,), vit = learner.network.adaptations, learner.network.backbone.vit
    rows = []
    for t in range(task + 1):
        slot = prompts.slot(t)
        for p in slot["prompt"]:
            if "down" in slot:
                hidden = (slot["down"] @ p + slot["down_bias"]).clamp(min=0)
                p = p + slot["up"] @ hidden + slot["up_bias"]
            rows.append(p)
    mean, std = (torch.tensor(v).view(3, 1, 1).double() for v in (MEAN, STD))
    prepended = torch.stack(rows).double().expand(len(x), -1, -1)
    return vit_forward(vit, (x - mean) / std, prepended=prepended)[1][:, len(rows)]


@pytest.mark.parametrize("mlp", [0, 5])
def test_the_loss_is_the_cross_entropy_beside_all_prompts_so_far(mlp: int) -> None:
    training = in_task(ProgressivePrompts(length=3, mlp=mlp), 1)
    learner, batch = training.learner, whole_batch(training)
    assert all(".task." in name for name in training.parameters)
    head = learner.network.heads.slot(1)
    logits = slow_features(learner, batch.inputs, 1) @ head["weight"].T + head["bias"]
    expected = cross_entropy(logits, [t - CLASSES[0] for t in batch.targets.tolist()])
    torch.testing.assert_close(loss_of(training, batch)["cross_entropy"], expected)
    assert_gradients(training, batch, expected)


def test_of_a_finished_task_its_prompt_is_kept_and_answers_as_before() -> None:
    training = in_task(SPEC, 1)
    learner, x = training.learner, inputs(4, 2)

    def features(task: int) -> Tensor:
        with torch.no_grad(), learner.computing_in(torch.float64):
            return learner.network.top(SharedPass(learner.network, x).trunk, task=task)

    before = features(1)
    learner.close_slots()
    (prompts,) = learner.network.adaptations
    assert [list(prompts.slot(t)) for t in (0, 1)] == [["prompt"], ["prompt"]]
    assert prompts.num_parameters(1) == 3 * 32
    torch.testing.assert_close(features(1), before)
    for task in (0, 1):
        torch.testing.assert_close(features(task), slow_features(learner, x, task))
    assert not torch.allclose(features(0), features(1), atol=1e-2)


def test_alone_it_answers_only_where_the_task_is_given() -> None:
    model = exact(classifier(SPEC))
    assert model.learner.policies == ("oracle",) and model.inference.code == "oracle"
    images = pictures(5)
    with pytest.raises(UserError, match="task=..."):
        model.predict(images)
    own = {label for label in model.predict(images, task=1)}
    assert own <= set(model.labels[CLASSES[0] : CLASSES[0] + CLASSES[1]])
    assert [p.code for p in EvaluateConfig().policies_for(model.learner)] == ["oracle"]


def test_a_classifier_infers_the_task_by_feature_id_unless_asked_not_to() -> None:
    model = ContinualClassifier(tiny_backbone(), SPEC, PLAIN, device="cpu")
    assert model.learner.policies == ("feature-id",) and model.inference.code == "feature-id:top64:joint"
    for task in range(2):
        model.learn(task_data(task), progress=False)
    assert len(model.predict(pictures(3))) == 3


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match="length"):
        ProgressivePrompts(length=0)
    with pytest.raises(UserError, match="mlp"):
        ProgressivePrompts(mlp=-1)
