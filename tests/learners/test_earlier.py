"""Settings that earlier versions saved: a `store` for each adaptation, other words for `classes`, what was not said."""

import pytest

from softtf.adaptations import Adapter, Compose, LoRA, Projection, SoftMask, SoftNet, TaskWeights
from softtf.config.dotted import with_settings
from softtf.config.tree import from_dict, to_dict
from softtf.errors import UserError
from softtf.learners import DER, FT, L2P, SLM, CLIPPrompt, DualPrompt, LearnerSpec
from softtf.learners.earlier import in_earlier_words
from softtf.training.config import TrainConfig

SPECS = [
    DualPrompt(adapt=SoftMask(), storage="float32"),
    DualPrompt(adapt=Compose((SoftMask((1,)), LoRA((2,)))), storage="float32"),
    CLIPPrompt(adapt=SoftMask(), adapt_text=LoRA()),
    DER(extractor=TaskWeights("all"), storage="float32"),
    SLM(),
    DualPrompt(adapt=SoftNet()),
    FT(),
]


@pytest.mark.parametrize("spec", SPECS)
def test_what_an_earlier_version_saved_is_read_as_the_same_spec(spec: LearnerSpec) -> None:
    earlier = in_earlier_words(to_dict(spec))
    assert "storage" not in earlier
    assert ("'store': '" in str(earlier)) == any(word in str(spec) for word in ("SoftMask", "LoRA", "TaskWeights"))
    assert from_dict(LearnerSpec, earlier) == spec


def test_a_part_that_named_no_store_was_quantised() -> None:
    plain = to_dict(DualPrompt(adapt=Compose((SoftMask(), LoRA()))))
    del plain["storage"]
    assert from_dict(LearnerSpec, plain).storage == "int8"
    plain["adapt"]["parts"][1]["store"] = "int8"
    assert from_dict(LearnerSpec, plain).storage == "int8"
    plain["adapt"]["parts"][1]["store"] = "float32"
    with pytest.raises(UserError, match="the stores float32 and int8; give the learner one storage"):
        from_dict(LearnerSpec, plain)


def test_a_store_beside_a_storage_is_refused_with_the_remedy() -> None:
    with pytest.raises(UserError, match="an adaptation has no store now; the learner's `storage`"):
        with_settings(DualPrompt(adapt=SoftMask()), {"adapt.store": "float32"})


def test_an_adaptation_of_ones_own_may_have_a_store() -> None:
    settings = {"kind": "dual-prompt", "adapt": {"kind": "none", "store": 3}}
    with pytest.raises(UserError, match="no store now"):
        from_dict(LearnerSpec, settings)


@pytest.mark.parametrize(
    ("saved", "meant"),
    [
        (
            {"kind": "l2p", "key_weight": 0.1, "projection": {"eps": 0.5, "samples": 768}},
            L2P(projection=Projection(0.5, 768, "ours"), key_eps=None),
        ),
        (
            {"kind": "dual-prompt", "adapt": {"kind": "lora", "rank": 4, "alpha": None}},
            DualPrompt(adapt=LoRA(rank=4, dropout=0.0, init="lora")),
        ),
        ({"kind": "dual-prompt", "adapt": {"kind": "adapter"}}, DualPrompt(adapt=Adapter(init="identity"))),
        ({"kind": "slm", "top_k": 2}, SLM(top_k=2)),
        ({"kind": "clip-prompt", "length": 5}, CLIPPrompt(text_prompts="class", before_norm=False)),
    ],
)
def test_learners_saved_before_published_settings_were_there_mean_what_they_meant(
    saved: dict[str, object], meant: LearnerSpec
) -> None:
    assert from_dict(LearnerSpec, saved) == meant
    assert from_dict(TrainConfig, {"epochs": 3}).of_task(0) == TrainConfig(3, weight_decay=0.0, clip_norm=1.0)
