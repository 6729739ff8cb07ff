"""A learner's state by name: what its slots will hold is known before they are opened."""

import pytest
from torch import Size, Tensor, dtype

from contracts.cases import LEARNERS, REPRESENTATIVES, LearnerCase
from contracts.tiny import backbone_for
from contracts.tiny_bert import tiny_bert
from softtf.learners.text_heads import TextHeads
from support.slow import each


def forms_of(tensors: dict[str, Tensor]) -> dict[str, tuple[Size, dtype]]:
    return {name: (value.shape, value.dtype) for name, value in tensors.items()}


@each("case", LEARNERS, REPRESENTATIVES)
def test_the_forms_of_a_task_are_those_of_its_slots_in_training_and_finished(case: LearnerCase) -> None:
    learner = case.spec.new_learner(tiny_bert() if case.texts else backbone_for(case.spec), 0)
    if isinstance(learner.network.heads, TextHeads):
        pytest.skip("these classifiers are finished by what texts their classes have")
    for task, num_classes in enumerate((3, 2)):
        trained, finished = learner.task_forms(num_classes)
        assert all(value.is_meta for value in (trained | finished).values()) and learner.num_tasks == task
        learner.open_slots(num_classes)
        assert forms_of(trained) == forms_of(learner.task_state_dict(task))
        learner.close_slots()
        assert forms_of(finished) == forms_of(learner.task_state_dict(task))
