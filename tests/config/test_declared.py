"""What is read from the text of classes is what their objects say."""

from softtf.config.declared import declared
from softtf.learners import LearnerSpec


def test_classes_are_read_as_they_are() -> None:
    found = {one["kind"]: one for one in declared("learners") if "kind" in one}
    ours = {kind: spec for kind, spec in LearnerSpec.kinds().items() if spec.__module__.startswith("softtf.")}
    assert found.keys() == ours.keys()
    for kind, spec in ours.items():
        assert found[kind]["title"] == spec.title
        assert found[kind]["about"] == (spec.__doc__ or "").splitlines()[0]
