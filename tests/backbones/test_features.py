"""Fixed queries: equal to fresh ones, and never those of another backbone or other inputs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from references.vit import vit_forward
from softtf.backbones.feature_store import Queries
from softtf.backbones.features import PROBES, FixedQueries, fixed_queries
from softtf.backbones.timm_vit import TimmViT
from softtf.classifier import ContinualClassifier
from softtf.learners import LinearHead
from softtf.streams import ImagePreparation, Loader
from softtf.streams.preparation import TrainingInputs
from support.counting import COUNT, Notes, backbone_of, kept, loader_of, path_of
from support.tiny import MEAN, STD, pictures, tiny_backbone, tiny_vit


def test_they_are_the_reference_features_of_the_test_inputs_in_order() -> None:
    preparation, backbone = ImagePreparation(16), tiny_backbone()
    found = fixed_queries(backbone, loader_of())
    loaded = torch.stack([preparation.load_test(p, "") for p in pictures(COUNT)])
    mean, std = (torch.tensor(v).view(3, 1, 1).double() for v in (MEAN, STD))
    expected = vit_forward(backbone.vit, (loaded.double() / 255 - mean) / std)[0]
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-6)  # the batch of inputs is float32
    assert found.seconds > 0 and not found.from_disk
    assert fixed_queries(backbone_of(), loader_of()).values.dtype == torch.float32


def test_neither_the_callers_batch_size_nor_the_disk_changes_a_bit(tmp_path: Path, notes: Notes) -> None:
    _, first = kept(tmp_path, notes)
    backbone = backbone_of()
    for batch_size in (1, 50, 500):
        assert torch.equal(fixed_queries(backbone, loader_of(batch_size=batch_size)).values, first.values)
    backbone.seen.clear()
    again = fixed_queries(backbone, loader_of(batch_size=50), notes.store(tmp_path, backbone))
    assert torch.equal(again.values, first.values) and again.seconds == first.seconds and again.from_disk
    assert len(backbone.seen) == PROBES and not notes and len(list(tmp_path.iterdir())) == 1


def test_they_are_had_once_per_number_type() -> None:
    backbone = backbone_of()
    queries = FixedQueries(backbone, loader_of())
    assert not backbone.seen
    exact = queries.get()
    assert queries.get() is exact and len(backbone.seen) == COUNT
    backbone.compute_dtype = torch.bfloat16
    rough = queries.get()
    assert len(backbone.seen) == 2 * COUNT and not torch.equal(rough.values, exact.values)
    torch.testing.assert_close(rough.values, exact.values, rtol=0, atol=0.2)


def test_a_selection_takes_its_share_of_the_seconds() -> None:
    part = Queries(torch.arange(10.0)[:, None], 5.0).select(torch.tensor([7, 2]))
    assert part.values.tolist() == [[7], [2]] and part.seconds == 1.0


def test_a_classifier_gives_them_before_it_learned_anything() -> None:
    model = ContinualClassifier(backbone_of(), LinearHead(), device="cpu")
    expected = fixed_queries(backbone_of(), loader_of(pictures(5))).values
    assert torch.equal(model.features(list(pictures(5)), batch_size=2), expected)


# --- A wrong file is never taken --------------------------------------------------------------------------------


def plain() -> Path:
    return path_of(backbone_of(), loader_of())


def in_bfloat16() -> TimmViT:
    backbone = backbone_of()
    backbone.compute_dtype = torch.bfloat16
    return backbone


def loose_norm() -> TimmViT:
    backbone = backbone_of()
    backbone.vit.blocks[1].norm1.eps = 1e-3
    return backbone


def one_pixel_changed() -> torch.Tensor:
    images = pictures(COUNT)
    images[-1, 3, 4, 1] ^= 1
    return images


OTHERS: dict[str, Callable[[], tuple[TimmViT, Loader]]] = {
    "weights": lambda: (backbone_of(tiny_vit(1)), loader_of()),
    "mean": lambda: (backbone_of(mean=(0.4, 0.5, 0.61)), loader_of()),
    "deviation": lambda: (backbone_of(std=(0.3, 0.25, 0.21)), loader_of()),
    "heads": lambda: (backbone_of(tiny_vit(num_heads=4)), loader_of()),
    "pooling": lambda: (backbone_of(tiny_vit(global_pool="avg", fc_norm=False)), loader_of()),
    "activation": lambda: (backbone_of(tiny_vit(act_layer=torch.nn.ReLU)), loader_of()),
    "norm": lambda: (loose_norm(), loader_of()),
    "type of the weights": lambda: (backbone_of().double(), loader_of()),
    "type of the products": lambda: (in_bfloat16(), loader_of()),
    "device": lambda: (backbone_of(), loader_of(device="meta")),
    "image": lambda: (backbone_of(), loader_of(one_pixel_changed())),
    "number of images": lambda: (backbone_of(), loader_of(pictures(COUNT)[:-1])),
    "order of images": lambda: (backbone_of(), loader_of(pictures(COUNT).flip(0))),
    "image size": lambda: (backbone_of(), loader_of(preparation=ImagePreparation(24))),
    "resizing": lambda: (backbone_of(), loader_of(preparation=ImagePreparation(16, resize=16))),
    "training inputs": lambda: (backbone_of(), loader_of(preparation=TrainingInputs(ImagePreparation(16)))),
}


@pytest.mark.parametrize("other", OTHERS)
def test_everything_that_the_features_depend_on_is_in_the_name(other: str) -> None:
    assert path_of(*OTHERS[other]()) != plain()


def test_the_precision_of_products_is_in_the_name() -> None:
    before, first = torch.get_float32_matmul_precision(), plain()
    torch.set_float32_matmul_precision("high" if before != "high" else "highest")
    assert plain() != first
    torch.set_float32_matmul_precision(before)  # type: ignore[arg-type]


def test_the_number_of_threads_is_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products shared by more threads are rounded differently."""
    alone = plain()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert plain() != alone


def test_labels_batch_sizes_and_what_the_data_are_called_do_not_matter() -> None:
    loader = loader_of(labels=[f"class {i}" for i in range(COUNT)], batch_size=3)
    loader.examples.name = "renamed"
    assert path_of(backbone_of().eval(), loader) == plain() == plain()


def test_what_no_name_tells_shows_in_a_few_features(
    tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, old = kept(tmp_path, notes)
    true_pool = TimmViT.pool
    monkeypatch.setattr(TimmViT, "pool", lambda self, tokens: true_pool(self, tokens) * 1.01)  # as a new version might
    backbone = backbone_of()
    for from_disk in (False, True):
        new = fixed_queries(backbone, loader_of(), notes.store(tmp_path, backbone))
        torch.testing.assert_close(new.values, old.values * 1.01)
        assert new.from_disk == from_disk
    assert len(notes) == 1 and str(file) in notes[0] and "computed again" in notes[0]
