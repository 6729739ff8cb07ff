"""Small learners in float32, as users have them, and one export that many tests read."""

from pathlib import Path

import pytest

from net import worlds
from softtf import BlockRidge, ContinualClassifier, DualPrompt, SoftMask, TrainConfig
from softtf.backbones.timm_vit import TimmViT
from softtf.learners import LearnerSpec
from support.tiny import MEAN, STD, task_data, tiny_vit

MASKS = DualPrompt(g_layers="none", e_layers="none", adapt=SoftMask((2,)))
TRAIN = TrainConfig(epochs=2, batch_size=4, learning_rate=3.0, precision="float32")


def small(spec: LearnerSpec, inference: str | None = None, tasks: int = 2) -> ContinualClassifier:
    """A learner on two blocks; its backbone was not made by timm.create_model."""
    backbone = TimmViT(tiny_vit(depth=2), "tiny", MEAN, STD)
    train = None if isinstance(spec, BlockRidge) else TRAIN
    model = ContinualClassifier(backbone, spec, train, device="cpu", inference=inference)
    for task in range(tasks):
        model.learn(task_data(task), f"month {task + 1}", progress=False)
    return model


@pytest.fixture(scope="package")
def ridge() -> ContinualClassifier:
    return small(BlockRidge(30, views=2))


@pytest.fixture(scope="package")
def exported(ridge: ContinualClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default learner as ONNX; no test may change it."""
    folder = tmp_path_factory.mktemp("export") / "ridge"
    ridge.export(folder)
    return folder


@pytest.fixture(scope="package")
def masks(tmp_path_factory: pytest.TempPathFactory) -> ContinualClassifier:
    """Masks without prompts on a model of timm's, by its folder."""
    vit = worlds.vit(tmp_path_factory.mktemp("models") / "vit")
    spec = DualPrompt(g_layers="none", e_layers="none", adapt=SoftMask((5, 6), targets="w/ FF"))
    model = ContinualClassifier(str(vit), spec, TRAIN, device="cpu", inference="prompt-id")
    for task in range(2):
        model.learn(task_data(task), f"month {task + 1}", progress=False)
    return model
