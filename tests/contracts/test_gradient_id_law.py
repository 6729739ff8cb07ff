"""Law 5 for every adaptation: per-sample Gradient ID is the slow loop's, with each task's weights written out."""

import pytest
import torch
from torch import Tensor

from contracts.by_hand import head, normalised, scores, task_adapters, task_weights
from contracts.cases import ADAPTATIONS, AdaptationCase
from contracts.tiny import inputs, learned
from references.gradient_id import gradient_id_scores
from references.vit import Adapters, Prefixes, Weights
from softtf.adaptations import NoAdaptation
from softtf.learners import DualPrompt, Learner

cases = {name: case for name, case in ADAPTATIONS.items() if not isinstance(case.spec, NoAdaptation)}
TASKS = range(3)


@pytest.mark.parametrize("prompts", ["mixed", "key-matched"])
@pytest.mark.parametrize("case", cases.values(), ids=cases)
def test_scores_equal_the_slow_loop_with_every_tasks_weights_written_out(case: AdaptationCase, prompts: str) -> None:
    learner, x = learned(DualPrompt(g_layers="none", e_layers=(3,), adapt=case.spec)).learner, inputs(3, 3)
    network = learner.network
    weights, adapters = ([of(network, t) for t in TASKS] for of in (task_weights, task_adapters))
    assert weights[0] or adapters[0]
    own = [{2: network.adaptations[1].slot(t)["layer03_prefix"].detach()} for t in TASKS]
    if prompts == "mixed":
        expected = slow(learner, x, weights, adapters, own, {})
        found = scores(learner, x)
    else:
        chosen = scores(learner, x, "prompt-id").argmax(1).tolist()
        rows = [slow(learner, x[i : i + 1], weights, adapters, [{}] * 3, own[t]) for i, t in enumerate(chosen)]
        expected, found = torch.cat(rows), scores(learner, x, "gradient-id-key-prompts")
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert expected.std(1).min() > 1e-4  # so the tasks differ


def slow(
    learner: Learner, x: Tensor, weights: list[Weights], adapters: list[Adapters], own: list[Prefixes], fixed: Prefixes
) -> Tensor:
    """The reference, which takes masks: a task's weight is a mask over ones."""
    return gradient_id_scores(
        learner.network.backbone.vit, normalised(x), masks=weights, prefixes=own, head=head(learner),
        shared_prefixes=fixed, top_entries=3, base_weights={key: torch.ones(()) for key in weights[0]},
        adapters=adapters,
    )  # fmt: skip
