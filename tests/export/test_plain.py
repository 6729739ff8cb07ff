"""One task as a plain model: the library's own call loads it, and it answers like that task's network."""

from pathlib import Path

import pytest
import timm
import torch
import transformers

from export.conftest import MASKS, TRAIN, small
from softtf import BackboneSpec, BlockRidge, ContinualClassifier, DualPrompt, SoftMask, UserError
from softtf.files.tensors import load_tensors
from support.tiny import pictures
from support.tiny_bert import save_model, text_task, texts


def test_timm_loads_it_with_the_masks_in_its_weights(masks: ContinualClassifier, tmp_path: Path) -> None:
    before = masks.learner.network.backbone.weights_hash()
    about = masks.export(tmp_path / "plain", task="month 2")
    assert about["labels"] == ["b", "7"] and about["largest_difference"] < 1e-5
    assert masks.learner.network.backbone.weights_hash() == before
    model = timm.create_model(f"local-dir:{tmp_path / 'plain'}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    from PIL import Image

    images = pictures(12, 5).numpy()
    with torch.no_grad():
        own = model(torch.stack([transform(Image.fromarray(image)) for image in images])).softmax(1)
    given = masks.predict_proba(images, task=1)[:, 3:]
    assert torch.allclose(own, given, atol=1e-5) and model.num_classes == 2
    frozen = masks.learner.network.backbone.linear(5, "fc1").weight
    assert not torch.allclose(model.blocks[5].mlp.fc1.weight, frozen)
    assert torch.equal(model.blocks[0].mlp.fc1.weight, masks.learner.network.backbone.linear(0, "fc1").weight)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "pooling"), [("bert", "pooler"), ("distilbert", "mean")])
def test_transformers_loads_it_and_the_head_is_beside_it(family: str, pooling: str, tmp_path: Path) -> None:
    spec = BackboneSpec(str(save_model(tmp_path / "model", family)), pooling=pooling, max_tokens=24)  # type: ignore[arg-type]
    model = ContinualClassifier(spec, MASKS, TRAIN, device="cpu", inference="prompt-id")
    for task in range(2):
        model.learn(text_task(task), progress=False)
    model.export(tmp_path / "plain", task=1)
    plain = transformers.AutoModel.from_pretrained(tmp_path / "plain").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "plain")
    head = load_tensors(tmp_path / "plain" / "head.safetensors")
    for text in map(str, texts(6, 3)):
        with torch.no_grad():
            out = plain(**tokenizer(text, return_tensors="pt", truncation=True, max_length=24))
        features = out.pooler_output if pooling == "pooler" else out.last_hidden_state.mean(1)
        own = (features @ head["weight"].T + head["bias"]).softmax(1)
        assert torch.allclose(own, model.predict_proba([text], task=1)[:, 3:], atol=1e-5)
    assert plain.config.id2label == {0: "b", 1: "7"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (DualPrompt(g_layers="1", e_layers="none", adapt=SoftMask((2,))), "GeneralPrefix is no part of a weight"),
        (BlockRidge(30, views=1), "has an answer of its own"),
        (MASKS, "not built by timm.create_model"),
    ],
)
def test_what_is_no_plain_model_is_refused(spec: DualPrompt, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        small(spec, tasks=1).export(tmp_path / "plain", task=0)
    assert not list(tmp_path.iterdir())


def test_a_task_that_is_not_there_is_refused(masks: ContinualClassifier, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no task 2"):
        masks.export(tmp_path / "plain", task=2)
