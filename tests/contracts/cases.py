"""Everything the contracts are checked on. A new adaptation, learner, backbone or task inference adds ONE line.

The quick tests check `REPRESENTATIVES`, the slow ones all.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from softtf.adaptations import (
    AdaptationSpec,
    Adapter,
    BinaryMask,
    Compose,
    FineTuning,
    LoRA,
    NoAdaptation,
    Projection,
    SoftMask,
    SoftNet,
    TaskWeights,
)
from softtf.adaptations.slots import Storage
from softtf.backbones import Backbone
from softtf.learners import (
    DER,
    EASE,
    EWC,
    FT,
    IDBR,
    KLDA,
    L2P,
    MBPA,
    MOS,
    NCM,
    SLCA,
    SLM,
    TUNA,
    BiC,
    BlockRidge,
    CLIPPrompt,
    CLIPPromptPublished,
    CLIPZeroShot,
    CODAPrompt,
    DERpp,
    DualPrompt,
    FlyCL,
    HiDePrompt,
    ICaRL,
    LayUP,
    LearnerSpec,
    LinearHead,
    LwF,
    NoRGa,
    ProgressivePrompts,
    RanPAC,
    RanPACFSA,
)
from support.tiny import bare, generator, inputs, noise, tiny_backbone, tiny_clip
from support.tiny_bert import tiny_bert, token_ids


@dataclass(frozen=True)
class AdaptationCase:
    """spec: with values that differ between tasks; identity: the same kind with the values that change nothing.

    trains_shared: as in LearnerCase; storage: of the learner that has it.
    """

    spec: AdaptationSpec
    identity: AdaptationSpec
    trains_shared: bool = False
    storage: Storage = "int8"


@dataclass(frozen=True)
class LearnerCase:
    """trains_shared: whether parameters that all tasks share go on training after the first task.

    texts: whether it is for texts alone, so that only `test_text_laws` has it. Feature ID's statistics are gathered by
    the cases that name them.
    """

    spec: LearnerSpec
    trains_shared: bool = False
    texts: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "spec", bare(self.spec))


@dataclass(frozen=True)
class BackboneCase:
    """build(): in float64; inputs(n, seed): prepared ones."""

    build: Callable[[], Backbone]
    inputs: Callable[[int, int], Tensor]


def texts(n: int, seed: int) -> Tensor:
    """Ids [n, tokens] of texts of differing lengths."""
    return tiny_clip().text.ids([f"{'a dog ' * i}of {seed}" for i in range(n)])


NOISY = "uniform(0.5,1.5)"

ADAPTATIONS = {
    "none": AdaptationCase(NoAdaptation(), NoAdaptation()),
    "fine-tuning": AdaptationCase(FineTuning((3, 4)), FineTuning(), trains_shared=True),
    "task weights": AdaptationCase(TaskWeights((3, 4)), TaskWeights("all")),
    "mask": AdaptationCase(SoftMask((3, 4), "w/o FF", NOISY), SoftMask((3, 4), "w/o FF")),
    "mask ff": AdaptationCase(SoftMask("2,4", "w/ FF", NOISY), SoftMask("2,4", "w/ FF", "uniform(1,1)")),
    "mask, exact": AdaptationCase(SoftMask((3, 4), init=NOISY), SoftMask((3, 4)), storage="float32"),
    "mask, float16": AdaptationCase(SoftMask((3, 4), "w/ FF", NOISY), SoftMask((3, 4), "w/ FF"), storage="float16"),
    "mask around 0": AdaptationCase(SoftMask((4,), "w/ FF", "normal(0.5)"), SoftMask((4,), "w/ FF")),
    "LoRA": AdaptationCase(LoRA((3, 4), 3, alpha=6), LoRA((3, 4), 3)),
    "LoRA, dropout": AdaptationCase(
        LoRA((3, 4), 3, alpha=24, dropout=0.1, init="soft-tf"), LoRA((3, 4), 3, alpha=24, dropout=0.1, init="soft-tf")
    ),
    "adapter": AdaptationCase(Adapter((3, 4), 5), Adapter("all", 2)),
    "adapter, near identity": AdaptationCase(Adapter((3, 4), 5, init="soft-tf"), Adapter((4,), 5)),
    "WSN": AdaptationCase(BinaryMask((3, 4), keep=60), BinaryMask((3, 4), keep=100)),
    "SoftNet": AdaptationCase(SoftNet((3, 4), "w/ FF", 30), SoftNet((3, 4), "w/ FF", 100)),
    "all kinds, exact": AdaptationCase(
        Compose(
            (
                LoRA((4,), 40, targets="qkv,fc2"),
                SoftMask((3, 4), "w/ FF", NOISY),
                Adapter((2, 4), 3, "attention,mlp"),
            )
        ),
        Compose((LoRA((4,), 2, targets="qkv,fc2"), SoftMask((3, 4), "w/ FF"), Adapter((2, 4), 3, "attention,mlp"))),
        storage="float32",
    ),
    "two masks": AdaptationCase(
        Compose((SoftMask((3, 4), "w/ FF", NOISY), SoftMask((4,), "qkv", NOISY))),
        Compose((SoftMask((3, 4), "w/ FF"), SoftMask((4,), "qkv"))),
    ),
}

MASK = SoftMask((3, 4), "w/ FF", NOISY)
LEARNERS = {
    "NCM": LearnerCase(NCM()),
    "RanPAC": LearnerCase(RanPAC(32), trains_shared=True),
    "RanPAC, adapted": LearnerCase(RanPACFSA(24, adapt=Adapter("all", 3, "mlp")), trains_shared=True),
    "RanPAC, masks": LearnerCase(RanPACFSA(24, adapt=SoftMask((3, 4))), trains_shared=True),
    "Fly-CL": LearnerCase(FlyCL(32), trains_shared=True),
    "KLDA": LearnerCase(KLDA(20, maps=2), trains_shared=True),
    "LayUP": LearnerCase(LayUP(3), trains_shared=True),
    "block ridge": LearnerCase(BlockRidge(33), trains_shared=True),
    "block ridge, Feature ID": LearnerCase(BlockRidge(20, views=1, feature_id=24), trains_shared=True),
    "linear head": LearnerCase(LinearHead()),
    "linear head, Feature ID": LearnerCase(LinearHead(feature_id=40)),
    "Soft-TF, Feature ID": LearnerCase(DualPrompt(e_layers=(3,), adapt=MASK, feature_id=24), trains_shared=True),
    "Soft-TF, offsets": LearnerCase(DualPrompt(e_layers=(3,), adapt=MASK, gradient_offset=5), trains_shared=True),
    "DualPrompt": LearnerCase(DualPrompt(e_layers=(3, 4)), trains_shared=True),
    "Soft-TF": LearnerCase(DualPrompt(e_layers=(2, 3), adapt=MASK), trains_shared=True),
    "Soft-TF, G above E": LearnerCase(
        DualPrompt(g_layers=(1, 3), g_length=2, e_layers=(2, 3), e_length=3, adapt=MASK), trains_shared=True
    ),
    "Soft-TF, G frozen": LearnerCase(DualPrompt(e_layers=(3, 4), adapt=MASK, freeze_g_after_first=True)),
    "Soft-TF, no G": LearnerCase(DualPrompt(g_layers="none", e_layers=(3,), adapt=MASK)),
    "masks only": LearnerCase(DualPrompt(g_layers="none", e_layers="none", adapt=MASK)),
    "G only": LearnerCase(DualPrompt(g_layers=(1, 2), e_layers="none"), trains_shared=True),
    "FT": LearnerCase(FT(), trains_shared=True),
    "FT, own classes": LearnerCase(FT(FineTuning((3, 4)), "own"), trains_shared=True),
    "EWC": LearnerCase(EWC(fisher_samples=3), trains_shared=True),
    "EWC, all classes": LearnerCase(EWC(fisher_samples=3, classes="seen"), trains_shared=True),
    "LwF": LearnerCase(LwF(), trains_shared=True),
    "DER++": LearnerCase(DERpp(exemplars=7), trains_shared=True),
    "DER++, own classes": LearnerCase(DERpp(exemplars=7, classes="own"), trains_shared=True),
    "DER++, classes to come": LearnerCase(DERpp(exemplars=7, classes="all", total_classes=11), trains_shared=True),
    "iCaRL": LearnerCase(ICaRL(exemplars=20), trains_shared=True),
    "BiC": LearnerCase(BiC(exemplars=20), trains_shared=True),
    "DER + MCG": LearnerCase(DER(exemplars=20, extractor=TaskWeights((3, 4)), mcg=3), trains_shared=True),
    "MBPA++": LearnerCase(MBPA(write=0.6, replay_every=2, neighbours=4, steps=3), trains_shared=True),
    "IDBR": LearnerCase(IDBR(share=0.3, replay_every=2, code=16), trains_shared=True, texts=True),
    "SLM": LearnerCase(SLM(keys=2, groups=4, increments=LoRA((2, 4), 3, targets="query,proj"))),
    "SLM, dropout": LearnerCase(SLM(keys=2, groups=4, increments=LoRA((2, 4), 3, dropout=0.2))),
    "Progressive Prompts": LearnerCase(ProgressivePrompts(length=2, mlp=5, feature_id=24)),
    "linear head, MCG": LearnerCase(LinearHead(mcg=2)),
    "BiC, Feature ID": LearnerCase(BiC(exemplars=20, feature_id=24), trains_shared=True),
    "DualPrompt, PGP": LearnerCase(DualPrompt(e_layers=(3, 4), projection=Projection()), trains_shared=True),
    "Soft-TF, PGP": LearnerCase(
        DualPrompt(e_layers=(2, 3), adapt=MASK, projection=Projection(0.9)), trains_shared=True
    ),
    "Soft-TF, all classes": LearnerCase(DualPrompt(e_layers=(3,), adapt=MASK, classes="seen"), trains_shared=True),
    "L2P": LearnerCase(L2P(4, 2, 2), trains_shared=True),
    "L2P, PGP": LearnerCase(L2P(4, 2, 2, projection=Projection(samples=5)), trains_shared=True),
    "L2P, PGP as published": LearnerCase(
        L2P(4, 2, 2, projection=Projection(0.3, spectrum="published"), key_eps=0.97), trains_shared=True
    ),
    "L2P + Soft-TF, PGP": LearnerCase(L2P(4, 2, 2, adapt=MASK, projection=Projection()), trains_shared=True),
    "L2P + mask in block 1": LearnerCase(L2P(3, 2, 1, adapt=SoftMask((1, 4), init=NOISY)), trains_shared=True),
    "CODA-Prompt": LearnerCase(CODAPrompt((2, 3), 3, 4, orthogonality=0.1)),
    "CODA-Prompt + Soft-TF": LearnerCase(CODAPrompt((1, 3), 2, 2, adapt=MASK)),
    "CODA-Prompt, all classes": LearnerCase(CODAPrompt((2,), 2, 2, classes="seen"), trains_shared=True),
    "SLCA": LearnerCase(SLCA(align_epochs=2, align_samples=6), trains_shared=True),
    "EASE": LearnerCase(EASE(Adapter((2, 4), 3, "mlp"), frozen_weight=0.5), trains_shared=True),
    "EASE, masks": LearnerCase(EASE(SoftMask((3, 4))), trains_shared=True),
    "MOS": LearnerCase(MOS((2, 4), 5, align_epochs=2, align_samples=6), trains_shared=True),
    "TUNA": LearnerCase(TUNA((2, 4), 3, margin=0.2, align_epochs=2, align_samples=6), trains_shared=True),
    "HiDe-Prompt": LearnerCase(
        HiDePrompt((2, 3), 2, align_epochs=9, align_samples=12, align_rate=0.03), trains_shared=True
    ),
    "HiDe-Prompt + Soft-TF": LearnerCase(
        HiDePrompt((1, 2), 2, adapt=MASK, align_epochs=2, align_samples=6), trains_shared=True
    ),
    "NoRGa": LearnerCase(NoRGa((2, 3), 2, align_epochs=2, align_samples=6, align_rate=0.01), trains_shared=True),
    "CLIP zero-shot": LearnerCase(CLIPZeroShot()),
    "CLIP-Prompt, PGP": LearnerCase(CLIPPrompt(2, 3, projection=Projection(0.9, 9)), trains_shared=True),
    "CLIP-Prompt as published, PGP": LearnerCase(
        CLIPPromptPublished(2, 3, projection=Projection(0.9, 9, "published")), trains_shared=True
    ),
    "CLIP-Prompt as published, masked": LearnerCase(CLIPPromptPublished(2, 3, adapt=MASK), trains_shared=True),
    "CLIP-Prompt, both towers masked": LearnerCase(
        CLIPPrompt(2, 3, adapt=MASK, adapt_text=SoftMask((2,), init=NOISY)), trains_shared=True
    ),
}
LEARNERS |= {  # so that an adaptation's one line brings it under the learners' laws too
    f"DualPrompt + {name}": LearnerCase(DualPrompt(g_layers="none", e_layers=(3,), adapt=case.spec), case.trains_shared)
    for name, case in ADAPTATIONS.items()
}
REPRESENTATIVES = (  # on which the quick tests check the laws: unlike ways to learn, to remember and to answer
    "block ridge",
    "Soft-TF, Feature ID",
    "DER++",
    "DER + MCG",
    "Progressive Prompts",
    "L2P, PGP",
    "CLIP-Prompt as published, masked",
    "DualPrompt + all kinds, exact",
)

BACKBONES = {
    "ViT": BackboneCase(tiny_backbone, inputs),
    "ViT, pooled": BackboneCase(lambda: tiny_backbone(class_token=False, global_pool="avg"), inputs),
    "CLIP, images": BackboneCase(tiny_clip, inputs),
    "CLIP, texts": BackboneCase(lambda: tiny_clip().text, texts),
    "ViT, all options": BackboneCase(
        lambda: tiny_backbone(init_values=0.5, qk_norm=True, reg_tokens=2, pre_norm=True), inputs
    ),
    "BERT": BackboneCase(tiny_bert, token_ids),
    "BERT, mean": BackboneCase(lambda: tiny_bert("mean"), token_ids),
}


def kinds_of(spec: object) -> set[str]:
    """The kinds of a spec and of all specs within it."""
    found = {spec.kind} if isinstance(spec, (AdaptationSpec, LearnerSpec)) else set()
    parts = spec if isinstance(spec, tuple) else getattr(spec, "__dict__", {}).values()
    return found.union(*(kinds_of(p) for p in parts if isinstance(p, (tuple, AdaptationSpec, LearnerSpec))))


def methods() -> dict[str, LearnerCase]:
    """A case of each method and of each kind of adaptation in it, and the representatives: for laws that take long."""
    found: dict[str, LearnerCase] = {}
    for name, case in LEARNERS.items():
        if name in REPRESENTATIVES or not any(kinds_of(case.spec) <= kinds_of(c.spec) for c in found.values()):
            found[name] = case
    return found


def random_tasks(case: AdaptationCase, backbone: Backbone, tasks: int) -> list:
    """The case's adaptations with `tasks` tasks that have gone some way from where they start, in float64."""
    adaptations = case.spec.build(backbone)
    for adaptation in adaptations:
        for task in range(tasks):
            adaptation.add_task(2, generator(task))
            for number, value in enumerate(adaptation.slot(task).values()):
                value.data.add_(0.1 * noise(*value.shape, seed=10 * task + number))
        adaptation.double()
    return adaptations
