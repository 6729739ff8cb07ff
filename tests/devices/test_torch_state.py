"""Whatever the caller set in torch, numpy and Python: the same answers, and the settings are left as they were."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from softtf import ContinualClassifier
from softtf.adaptations import LoRA, SoftMask
from softtf.backbones import BackboneSpec, load_backbone
from softtf.backbones.timm_vit import TimmViT
from softtf.devices.device import find_device
from softtf.errors import UserError
from softtf.learners import DERpp, DualPrompt, LearnerSpec, RanPAC
from softtf.training.config import TrainConfig
from support.slow import each
from support.tiny import TRAIN, pictures

SPECS: dict[str, tuple[LearnerSpec, TrainConfig | None]] = {
    "soft-tf": (DualPrompt(e_layers="4-6", adapt=SoftMask(layers="5-6")), TRAIN),
    "lora": (DualPrompt(e_layers="4-6", adapt=LoRA(layers="5-6", rank=2)), TRAIN),
    "ranpac": (RanPAC(50), None),
    "der++": (DERpp(exemplars=6), TrainConfig(epochs=1, batch_size=4, precision="float32")),
}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    yield
    torch.set_default_device(None)
    # What is left of it breaks get_default_device before torch 2.10, in transformers too.
    with suppress(AttributeError):
        del torch._GLOBAL_DEVICE_CONTEXT.device_context


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    yield


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "another device": lambda: default_device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "deterministic": deterministic,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "seeds": lambda: seeded(5),
}
SOME = ["float64", "inference_mode", "seeds"]


def found_settings() -> list[Any]:
    modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
    kinds = (torch.get_default_dtype(), str(torch.empty(0).device), torch.are_deterministic_algorithms_enabled())
    state: Any = np.random.get_state()
    drawn = (torch.random.get_rng_state().numpy().tobytes(), state[1].tobytes(), state[2], random.getstate())
    return [*modes, *kinds, torch.get_autocast_dtype("cpu"), *drawn]


def use(kind: str, folder: Path) -> dict[str, Any]:
    """All that a learner is for, on two tasks; pictures are numpy's, since a tensor would be made on the device."""
    spec, config = SPECS[kind]
    images = USED.copy()
    model = ContinualClassifier(BackboneSpec("random:test_vit", image_size=32), spec, config, device="cpu", seed=1)
    model.learn((images[:8], [0, 1] * 4), progress=False)
    model.learn((images[8:], [2, 3] * 4), progress=False)
    model.save_pretrained(folder / "saved")
    again = ContinualClassifier.from_pretrained(folder / "saved", device="cpu")
    return {
        "labels": model.predict(images),
        "probabilities": model.predict_proba(images),
        "reloaded": again.predict_proba(images),
        "tasks": model.predict_task(images),
        "features": model.features(images),
        "scores": model.evaluate([(images[:8], [0, 1] * 4), (images[8:], [2, 3] * 4)]),
        "weights": load_backbone(BackboneSpec("random:test_vit")).weights_hash(),
    }


USED = pictures(16, 4).numpy()


@pytest.mark.filterwarnings("ignore")
@each(
    "kind, states",
    {
        "ranpac-some": ("ranpac", SOME),
        "ranpac-others": ("ranpac", [state for state in STATES if state not in SOME]),
        "soft-tf": ("soft-tf", list(STATES)),
        "lora": ("lora", SOME),
        "der++": ("der++", SOME),
    },
    ("ranpac-some",),
)
def test_what_the_caller_set_changes_nothing_and_is_left_as_it_was(
    kind: str, states: list[str], tmp_path: Path
) -> None:
    expected = use(kind, tmp_path / "plain")
    assert expected["probabilities"].std() > 1e-3
    for name in states:
        with STATES[name]():
            before = found_settings()
            found = use(kind, tmp_path / name)
            assert found_settings() == before, name
        for what, value in found.items():
            same = torch.equal(value, expected[what]) if isinstance(value, torch.Tensor) else value == expected[what]
            assert same, f"{name}: {what}"
            assert not isinstance(value, torch.Tensor) or not (value.requires_grad or value.is_inference()), name


def test_settings_come_back_after_an_error() -> None:
    model = ContinualClassifier(BackboneSpec("random:test_vit", image_size=32), RanPAC(9), device="cpu")
    with default_dtype(torch.float64):
        with pytest.raises(ValueError):
            model.learn((USED, []), progress=False)
        assert torch.get_default_dtype() is torch.float64


def test_a_backbone_made_in_inference_mode_is_learned_with() -> None:
    with torch.inference_mode():
        vit = timm.create_model("test_vit", num_classes=0, img_size=32)
        backbone = TimmViT(vit, "mine", (0.5,) * 3, (0.5,) * 3)
    learner = ContinualClassifier(
        backbone, DualPrompt(e_layers="2-3", g_layers="1", adapt=SoftMask(layers="3")), TRAIN, device="cpu"
    )
    learner.learn((USED[:8], [0, 1] * 4), progress=False)
    assert len(learner.predict(USED[:3])) == 3


@pytest.mark.parametrize("device", ["xpu:0", None, 3.5, "cpu\0"])
def test_a_device_that_is_not_there_is_refused(device: Any) -> None:
    if device == "xpu:0" and torch.xpu.is_available():
        pytest.skip("there is one")
    with pytest.raises(UserError, match="device"):
        find_device(device)
