"""Law 5 for every adaptation: per-sample Gradient ID is the slow loop's, with each task's weights written out."""

import pytest
import torch
from torch import Tensor

from contracts.by_hand import head, normalised, scores, task_adapters, task_weights, written_out
from contracts.cases import ADAPTATIONS, AdaptationCase
from contracts.tiny import inputs, learned
from references.gradient_id import gradient_id_scores
from references.vit import Prefixes
from softtf.adaptations.prefix import ExpertPrefix
from softtf.learners import DualPrompt, Learner

TASKS = range(3)


@pytest.mark.parametrize("prompts", ["mixed", "key-matched"])
@pytest.mark.parametrize("case", ADAPTATIONS.values(), ids=ADAPTATIONS)
def test_scores_equal_the_slow_loop_with_every_tasks_weights_written_out(case: AdaptationCase, prompts: str) -> None:
    learner, x = learned(DualPrompt(g_layers="none", e_layers=(3,), adapt=case.spec)).learner, inputs(3, 3)
    if not written_out(learner.network):
        pytest.skip("it cannot be written out as weights and adapters; check_adaptation compares finite differences")
    prefix = next(a for a in learner.network.adaptations if isinstance(a, ExpertPrefix))
    own: list[Prefixes] = [{2: prefix.slot(t)["layer03_prefix"].detach()} for t in TASKS]
    if prompts == "mixed":
        expected, found = slow(learner, x, own, {}), scores(learner, x)
    elif not learner.network.edits_weights:
        pytest.skip("nothing is left to mix")
    else:
        chosen = scores(learner, x, "prompt-id").argmax(1).tolist()
        expected = torch.cat([slow(learner, x[i : i + 1], [{}] * 3, own[t]) for i, t in enumerate(chosen)])
        found = scores(learner, x, "gradient-id-key-prompts")
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert expected.std(1).min() > 1e-4 or not learner.network.edits_weights  # so the tasks differ


def slow(learner: Learner, x: Tensor, own: list[Prefixes], fixed: Prefixes) -> Tensor:
    """The reference, which takes masks: a task's weight is a mask over ones. What tasks share is not mixed."""
    network = learner.network
    weights, adapters = ([of(network, t) for t in TASKS] for of in (task_weights, task_adapters))
    mixed = {(b, n) for a in network.adaptations for b, n in weights[0] if b in a.task_blocks and a.edits_weight(b, n)}
    return gradient_id_scores(
        network.backbone.vit, normalised(x), masks=[{key: w[key] for key in mixed} for w in weights], prefixes=own,
        head=head(learner), shared_prefixes=fixed, top_entries=3,
        base_weights=weights[0] | {key: torch.ones(()) for key in mixed}, adapters=adapters,
    )  # fmt: skip
