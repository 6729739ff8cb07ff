"""A learner's state by name: what its slots will hold is known before they are opened."""

import pytest
from torch import Size, Tensor, dtype
from torch.nn import ParameterDict

from contracts.cases import LEARNERS, REPRESENTATIVES, LearnerCase
from softtf.learners.text_heads import TextHeads
from support.slow import each
from support.tiny import SOFT_TF, backbone_for, classifier
from support.tiny_bert import tiny_bert


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


def test_a_further_task_copies_and_visits_no_slot_of_a_finished_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(SOFT_TF)
    before = {id(slot) for slots in model.learner.slot_modules().values() for slot in slots.finished_slots()}
    parameters = {id(p) for p in model.learner.parameters() if not p.requires_grad}
    learner, finished = model.learner, model.knowledge.finished.learner
    learner.go_on()
    learner.open_slots(2)
    for slots, old in zip(learner.slot_modules().values(), finished.slot_modules().values(), strict=True):
        assert slots is not old and len(slots.slots) == len(old.slots) + 1
        assert {id(slot) for slot in slots.slots} - before == {id(slots.slots[-1])}
        assert slots.finished_slots()[: len(old.slots)] == list(old.slots)
    new = [p for p in learner.parameters() if id(p) not in parameters]
    assert not {id(p) for p in new} & {id(p) for p in finished.parameters()}  # all that is trained is its own
    read: list[object] = []
    true = ParameterDict.values
    monkeypatch.setattr(ParameterDict, "values", lambda self: read.append(self) or true(self))
    learner.close_slots()
    assert len(read) <= 2 * len(learner.slot_modules())
