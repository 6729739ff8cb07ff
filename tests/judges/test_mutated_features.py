"""Damage to a cache of features, to its key, or by somebody else's files costs time and a note, and changes nothing."""

import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given

from backbones.test_poisoned_features import KEY, poisoned
from softtf.backbones.feature_store import Queries
from softtf.backbones.features import fixed_queries
from support.counting import Notes, backbone_of, loader_of
from support.damage import KINDS, Damage, damages, trials
from support.guards import bounded
from support.tiny import pictures

pytestmark = pytest.mark.slow

SEEDS = (0, 1)
TENSORS = [kind for kind in sorted(KINDS) if "json" not in kind]
BYTES = ("bit", "bytes", "cut off", "cut out", "longer", "renamed", "copied", "no file")


def asked(folder: Path, key: Path, notes: Notes) -> list[Queries]:
    """The features of two sets of pictures, as whoever has this key finds them."""
    with pytest.MonkeyPatch.context() as patch, bounded():
        patch.setenv(KEY, str(key))
        backbone = backbone_of()
        store = notes.store(folder, backbone)
        return [fixed_queries(backbone, loader_of(pictures(9, seed)), store) for seed in SEEDS]


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[torch.Tensor]]:
    """A place with a cache and its key, and somebody else's with poisoned features, and what is right."""
    place = tmp_path_factory.mktemp("caches")
    right = asked(place / "mine", place / "keys/mine", Notes())
    backbone = backbone_of()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY, str(place / "other-key"))
        store = Notes().store(place / "other", backbone)
        for seed, queries in zip(SEEDS, right, strict=True):
            store.write(store.path(backbone, loader_of(pictures(9, seed))), poisoned(queries))
    return place, [queries.values for queries in right]


def check(caches: tuple[Path, list[torch.Tensor]], part: str, damage: Damage) -> None:
    place, right = caches
    with tempfile.TemporaryDirectory() as folder:
        mine = Path(shutil.copytree(place, folder, dirs_exist_ok=True))
        damage(mine / part, mine / "other")
        for _ in range(2):  # the second time, what the first one wrote is read
            found = asked(mine / "mine", mine / "keys/mine", Notes())
            assert all(queries.values.equal(values) for queries, values in zip(found, right, strict=True)), damage


@trials(40)
@given(damages(*TENSORS))
def test_damage_to_a_cache_changes_no_feature(caches: tuple[Path, list[torch.Tensor]], damage: Damage) -> None:
    check(caches, "mine", damage)


@trials(15)
@given(damages(*BYTES))
def test_damage_to_its_key_changes_no_feature(caches: tuple[Path, list[torch.Tensor]], damage: Damage) -> None:
    check(caches, "keys", damage)
