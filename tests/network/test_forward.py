"""What does not depend on the task is computed once for a batch."""

from softtf.learners import DualPrompt
from softtf.network import SharedPass
from support.tiny import inputs, learned


def test_the_shared_part_is_computed_once() -> None:
    learner = learned(DualPrompt(e_layers=(3, 4))).learner
    shared = SharedPass(learner.network, inputs(2))
    assert shared.stem is shared.stem and shared.trunk is shared.trunk and shared.query is shared.query
    assert not shared.query.requires_grad and not shared.stem.x.requires_grad
