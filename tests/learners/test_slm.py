"""SLM: retrieval written out, the network that answers, and its loss."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from references.vit import layer, vit_forward
from softtf.adaptations import LoRA
from softtf.errors import UserError
from softtf.learners import SLM
from softtf.learners.slm import KEYS, TASKS, SLMLearner
from softtf.network import SharedPass
from support.tiny import CLASSES, MEAN, STD, classifier, exact, inputs, task_data, tiny_backbone
from support.tuned import assert_gradients, cross_entropy, in_task, loss_of, whole_batch

SPEC = SLM(keys=2, groups=4, top_k=3, increments=LoRA((2, 4), 3, alpha=6, targets="value,proj"), storage="float32")


def shares(learner: SLMLearner, query: Tensor) -> Tensor:
    """Of one sample [dim], by loops: the share of each task in its three nearest keys."""
    keys, tasks = learner.memory[KEYS].double(), learner.memory[TASKS].tolist()
    similar = [sum(F.cosine_similarity(query[g], k[g], dim=0) for g in torch.arange(32).split(8)) / 4 for k in keys]
    best = sorted(range(len(keys)), key=lambda i: -float(similar[i]))[:3]
    total = sum(similar[i] for i in best)
    found = torch.zeros(learner.num_tasks, dtype=torch.float64)
    for i in best:
        found[tasks[i]] += similar[i] / total
    return found


def slow_features(learner: SLMLearner, x: Tensor) -> Tensor:
    """Features [n, dim], each sample under a weight of its own: W + sum_t alpha_t * 2 B_t A_t."""
    (store,), vit = learner.network.adaptations, learner.network.backbone.vit
    rows = []
    for one in x:
        image = (one[None] - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1).double()
        query = vit_forward(vit, image)[0][0]
        weights = {}
        for block in (1, 3):
            for name, whole, first in (("value", "qkv", 64), ("proj", "proj", 0)):
                weight = layer(vit, block, whole).weight.clone()
                for task, share in enumerate(shares(learner, query)):
                    slot = store.slot(task)
                    a, b = (slot[f"layer{block + 1:02d}_{name}_{m}"] for m in "AB")
                    change = torch.zeros_like(weight)
                    change[first : first + 32] = 2 * b @ a
                    weight = weight + share * change
                weights[block, whole] = weight
        rows.append(vit_forward(vit, image, weights=weights)[0][0])
    return torch.stack(rows)


def moved(learner: SLMLearner) -> SLMLearner:
    """With increments large enough to matter."""
    for task in range(learner.num_tasks):
        for i, value in enumerate(learner.network.adaptations[0].slot(task).values()):
            value.data += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(9 * task + i)).double()
    return learner


def test_the_answer_is_that_of_the_increments_retrieved_for_each_sample() -> None:
    learner = moved(exact(classifier(SPEC)).learner)
    x = inputs(6, 2)
    x[1] *= 0.2
    with torch.no_grad(), learner.computing_in(torch.float64):
        shared = SharedPass(learner.network, x)
        found = learner.retrieved(shared.query)
        logits = learner.logits(shared.trunk, 0)
        expected = torch.stack([shares(learner, query) for query in shared.query])
        heads = [learner.network.heads.slot(t) for t in range(3)]
        weight, bias = (torch.cat([h[name] for h in heads]) for name in ("weight", "bias"))
        slow = slow_features(learner, x) @ weight.T + bias
        plain = learner.network.heads(shared.query, range(3))
    torch.testing.assert_close(found, expected)
    assert ((found > 0).sum(1) > 1).any()  # of more than one task
    torch.testing.assert_close(logits, slow)
    assert not torch.allclose(logits, plain, atol=1e-2)


def test_the_loss_is_the_cross_entropy_over_own_classes_under_retrieval() -> None:
    training = in_task(SPEC, 1)
    learner, batch = training.learner, whole_batch(training)
    head = learner.network.heads.slot(1)
    logits = slow_features(learner, batch.inputs) @ head["weight"].T + head["bias"]
    expected = cross_entropy(logits, [t - CLASSES[0] for t in batch.targets.tolist()])
    torch.testing.assert_close(loss_of(training, batch)["cross_entropy"], expected)
    assert_gradients(training, batch, expected)


def test_each_task_adds_its_keys_and_leaves_the_others() -> None:
    first, second = (classifier(SPEC, tasks).learner.memory for tasks in (1, 2))
    assert first[TASKS].tolist() == [0, 0] and second[TASKS].tolist() == [0, 0, 1, 1]
    assert torch.equal(second[KEYS][:2], first[KEYS])


def test_keys_lie_where_their_examples_are() -> None:
    """Two heaps of images: each gets a key, and every image's nearest key is its heap's."""
    model = classifier(SLM(keys=2, groups=4, top_k=1, increments=SPEC.increments), 1)
    queries = model.features(list(task_data(0))).float()
    learner = model.learner
    groups, keys = learner.in_groups(queries), learner.memory[KEYS]
    own = (groups @ learner.in_groups(keys).T).argmax(1)
    for key in range(2):
        mean = groups[own == key].mean(0)
        assert F.cosine_similarity(mean, keys[key], dim=0) > 0.999


def test_by_default_a_sample_retrieves_as_many_keys_as_published() -> None:
    assert (SLM().top_k, SLM().keys, SLM().groups) == (4, 4, 6)
    spec = SLM(keys=3, groups=4, increments=SPEC.increments)
    learner = classifier(spec).learner
    query = learner.in_groups(torch.randn(1, 32, generator=torch.Generator().manual_seed(1)))
    similar, best = (query @ learner.in_groups(learner.memory[KEYS]).T)[0].sort(descending=True)
    expected = torch.zeros(3).index_add_(0, learner.memory[TASKS][best[:4]], similar[:4].clamp(min=1e-6))
    torch.testing.assert_close(learner.retrieved(query)[0], expected / expected.sum())


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="groups must divide.*32; 5"):
        SLM(groups=5).new_learner(tiny_backbone(), 0)
    with pytest.raises(UserError, match="top_k"):
        SLM(top_k=0)
