"""Law 5 for every adaptation: per-sample Gradient ID is the slow loop's, with each task's weights written out."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from contracts.cases import ADAPTATIONS, AdaptationCase
from references.gradient_id import gradient_id_scores
from references.vit import Prefixes
from softtf.adaptations import Adaptation, AdaptationSpec, Adapter, Compose, LoRA, SoftMask
from softtf.adaptations.lora import LoRAsBeside, parts_of
from softtf.adaptations.prefix import ExpertPrefix
from softtf.backbones import Backbone
from softtf.learners import DualPrompt, Learner
from support.by_hand import head, normalised, scores, task_adapters, task_branches, task_weights, written_out
from support.slow import each
from support.tiny import inputs, learned

TASKS = range(3)


@dataclass(frozen=True)
class Branches(AdaptationSpec):
    """Increments beside layers (only a learner of its own has them otherwise); the last block's qkv is among them."""

    targets: tuple[str, ...] = ("query", "value", "fc2")

    def build(self, backbone: Backbone) -> list[Adaptation]:
        return [LoRAsBeside({b: parts_of(self.targets, backbone, b) for b in (2, 3)}, LoRA((3, 4), 3, alpha=6))]


BESIDE = {
    "LoRA beside": Branches(),
    "LoRA beside, all kinds": Compose(
        (SoftMask((3, 4), "w/ FF", "uniform(0.5,1.5)"), Branches(("qkv", "fc1")), Adapter((2, 4), 3, "mlp"))
    ),
}
CASES = ADAPTATIONS | {name: AdaptationCase(spec, spec) for name, spec in BESIDE.items()}


@pytest.mark.parametrize("prompts", ["mixed", "key-matched"])
@each("case", CASES, ("mask ff", "LoRA", "SoftNet", "LoRA beside, all kinds"))
def test_scores_equal_the_slow_loop_with_every_tasks_weights_written_out(case: AdaptationCase, prompts: str) -> None:
    learner, x = (
        learned(DualPrompt(g_layers="none", e_layers=(3,), adapt=case.spec, storage=case.storage)).learner,
        inputs(3, 3),
    )
    if not written_out(learner.network):
        pytest.skip(
            "it cannot be written out as weights, adapters and branches; check_adaptation compares finite differences"
        )
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
    written = (task_weights, task_adapters, task_branches)
    weights, adapters, branches = ([of(network, t) for t in TASKS] for of in written)
    mixed = {site for a in network.adaptations for site in a.weight_sites if site.block in a.task_blocks}
    return gradient_id_scores(
        network.backbone.vit, normalised(x), masks=[{key: w[key] for key in mixed} for w in weights], prefixes=own,
        head=head(learner), shared_prefixes=fixed, top_entries=3,
        base_weights=weights[0] | {key: torch.ones(()) for key in mixed}, adapters=adapters, branches=branches,
    )  # fmt: skip
