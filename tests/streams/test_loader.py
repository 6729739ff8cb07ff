import os
import resource

import pytest
import torch

from softtf.errors import UserError
from softtf.seeds import derive_seed
from softtf.streams import Examples, ImagePreparation, Loader
from softtf.streams.cache import Cache
from softtf.streams.photos import crop_photo
from softtf.streams.preparation import Ready, TrainingInputs

ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Watched(ImagePreparation):
    """Counts how often inputs are loaded (in this process)."""

    loads: list[str] = []

    def load_drawn(self, raw, where, drawn, room):
        self.loads.append(where)
        return super().load_drawn(raw, where, drawn, room)

    def load_train(self, raw, where):
        self.loads.append(where)
        return super().load_train(raw, where)

    def load_test(self, raw, where):
        self.loads.append(where)
        return super().load_test(raw, where)


@pytest.fixture(autouse=True)
def _no_loads():
    Watched.loads.clear()


def pictures(sides, name="data"):
    """One image for each (height, width), of noise, labelled by its number."""
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(0, 256, (3, h, w), dtype=torch.uint8, generator=generator) for h, w in sides]
    return Examples(rows, range(len(rows)), name)


EQUAL = pictures([(12, 12)] * 11)
MIXED = pictures([(12, 12 + i % 5) for i in range(11)])
SMALL = pictures([(6, 6)] * 11)
RAGGED = pictures([(5 + i % 4, 8 - i % 3) for i in range(11)])
BOTH = pictures([(5 + 3 * (i % 3), 8 + i % 4) for i in range(11)])
CACHES = [0, 11 * 3 * 12 * 13, 2**30]  # for nothing, for some examples, for all
SETS = {"equal": EQUAL, "mixed": MIXED, "small": SMALL, "ragged": RAGGED, "both": BOTH}


def loader(examples=EQUAL, train=True, preparation=None, **options):
    options = {"batch_size": 4, "device": "cpu", **options}
    return Loader(examples, torch.arange(len(examples)), preparation or Watched(8), train, **options)


def slow_epoch(examples, seed):
    """What an epoch is, without any cache or worker: a photo's crop on its own, small images together."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(derive_seed(seed, "order")))
    augmentation = torch.Generator().manual_seed(derive_seed(seed, "augmentation"))
    preparation = ImagePreparation(8)
    for batch in order.split(4):
        images = [examples[int(i)] for i in batch]
        drawn = preparation.draw(len(batch), augmentation)
        small = [n for n, image in enumerate(images) if max(image.shape) <= 8]
        inputs = torch.zeros(len(batch), 3, 8, 8)
        if small:  # as they were before photos were cropped from their originals
            boxes = preparation._boxes(drawn[small], *torch.tensor([images[n].shape[1:] for n in small]).T)
            inputs[small] = preparation._sample([images[n] for n in small], boxes, "cpu")
        for n in set(range(len(batch))).difference(small):
            (crop,) = preparation._photo_crops(drawn[n : n + 1], [images[n].shape[1:]])
            inputs[n] = crop_photo(images[n], crop, 8).float() / 255
        yield inputs, batch, batch


def test_small_images_are_augmented_as_stored_copies_are():
    """For data such as CIFAR's, training is what it was before photos were cropped from their originals."""
    preparation = ImagePreparation(8)
    for examples in (SMALL, RAGGED):
        augmentation = torch.Generator().manual_seed(derive_seed(3, "augmentation"))
        for inputs, _, rows in loader(examples).epoch(3):
            images = [preparation.load_train(examples[int(i)], "") for i in rows]
            assert torch.equal(inputs, preparation.augment_batch(images, "cpu", augmentation))


def same(batches, expected):
    batches, expected = list(batches), list(expected)
    assert len(batches) == len(expected)
    for batch, wanted in zip(batches, expected, strict=True):
        assert len(batch) == 3 and all(map(torch.equal, batch, wanted))


@pytest.mark.parametrize("examples", SETS.values(), ids=SETS)
@pytest.mark.parametrize("cache_bytes", CACHES)
def test_a_seed_gives_the_same_epoch_whatever_the_cache(examples, cache_bytes):
    made = loader(examples, cache_bytes=cache_bytes)
    for seed in (3, 3, 4):
        same(made.epoch(seed), slow_epoch(examples, seed))


@pytest.mark.slow
@pytest.mark.parametrize("cache_bytes", CACHES)
def test_a_seed_gives_the_same_epoch_with_workers(cache_bytes):
    made = loader(BOTH, cache_bytes=cache_bytes, workers=2)
    for seed in (3, 3, 4):
        same(made.epoch(seed), slow_epoch(BOTH, seed))


def test_an_epoch_sees_every_example_once_and_seeds_differ():
    made = loader()
    assert len(made) == 3
    orders, inputs = [], []
    for seed in range(2):
        batches = list(made.epoch(seed))
        assert [len(targets) for _, targets, _ in batches] == [4, 4, 3]
        orders.append(torch.cat([targets for _, targets, _ in batches]).tolist())
        inputs.append(torch.cat([x for x, _, _ in batches]))
        assert sorted(orders[-1]) == list(range(11))
    assert orders[0] != orders[1]
    assert not torch.equal(*inputs)


def test_inputs_are_loaded_once_if_they_fit_and_each_time_if_not():
    for cache_bytes, loads in ((2**20, 11), (100, 22)):
        Watched.loads.clear()
        made = loader(cache_bytes=cache_bytes)
        for seed in range(2):
            list(made.epoch(seed))
        assert len(Watched.loads) == loads


@pytest.mark.slow
def test_photos_are_not_kept_where_workers_decode_ahead_but_small_images_are():
    for examples, kept in ((EQUAL, 0), (SMALL, 11)):
        made = loader(examples, workers=2)
        list(made.epoch(0))
        assert sum(i in made._cache for i in range(11)) == kept


def test_no_originals_are_kept_that_would_not_fit_all_together():
    made = loader(cache_bytes=11 * 3 * 12 * 12 - 1)
    assert all(
        isinstance(row, Ready) for row in made._load([[0, 1]], [torch.rand(2, 23, dtype=torch.float64)]).__next__()
    )


def test_nothing_is_loaded_before_it_is_needed():
    made = loader(train=False)
    assert Watched.loads == []
    made.inputs([7, 2])
    assert Watched.loads == ["data[7]", "data[2]"]
    made.inputs([2, 7, 7])
    assert len(Watched.loads) == 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_test_inputs_come_in_order_and_as_asked(workers, cache_bytes):
    preparation = ImagePreparation(8)
    expected = torch.stack([preparation.load_test(image, "") for image in MIXED]).float() / 255
    made = loader(MIXED, train=False, workers=workers, cache_bytes=cache_bytes)
    for _ in range(2):
        assert [len(batch) for batch in made.batches()] == [4, 4, 3]
        assert torch.equal(torch.cat(list(made.batches())), expected)
        wanted = [9, 0, 3, 3, 5, 1, 9]
        assert torch.equal(torch.cat(list(made.batches(wanted))), expected[wanted])
        assert torch.equal(made.inputs(torch.tensor(wanted)), expected[wanted])
        others = list(made.batches(wanted, batch_size=6))
        assert [len(batch) for batch in others] == [6, 1] and torch.equal(torch.cat(others), expected[wanted])


def test_training_inputs_in_order_are_those_of_an_epoch_that_augments_nothing():
    plain, small = ImagePreparation(8, augment=False), pictures([(5, 5 + i % 3) for i in range(11)])
    ordered = torch.cat(list(loader(small, train=False, preparation=TrainingInputs(plain)).batches()))
    for inputs, _, rows in loader(small, preparation=plain).epoch(5):
        torch.testing.assert_close(inputs, ordered[rows], rtol=0, atol=1e-6)
    assert not torch.allclose(ordered, torch.cat(list(loader(small, train=False).batches())), atol=1e-2)
    assert TrainingInputs(plain).fingerprint != plain.fingerprint


@pytest.mark.slow
def test_an_abandoned_epoch_harms_nothing():
    made = loader(workers=2)
    next(made.epoch(0))
    same(made.epoch(1), slow_epoch(EQUAL, 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_random_state_is_left_alone(workers):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(loader(workers=workers).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_input_is_named_on_one_line(workers, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    rows = [*list(EQUAL)[:9], tmp_path / "bad.png"]
    made = loader(Examples(rows, range(10), "birds"), workers=workers)
    with pytest.raises(UserError, match=r"^birds\[9\] \(.*bad.png\): the image file is empty") as caught:
        list(made.epoch(0))
    assert "\n" not in str(caught.value)


def test_a_view_reports_the_row_of_its_source():
    rows = [*list(EQUAL)[:9], b""]
    made = loader(Examples(rows, range(10), "birds").select([9]), train=False)
    with pytest.raises(UserError, match=r"^birds\[9\]"):
        list(made.batches())


def test_wrong_settings_and_uses_are_refused():
    for action, message in [
        (
            lambda: Loader(EQUAL, torch.arange(10), Watched(8), True, 4, "cpu"),
            r"int64 \[11\], not torch.int64 \[10\]",
        ),
        (lambda: Loader(EQUAL, torch.ones(11), Watched(8), True, 4, "cpu"), r"not torch.float32"),
        (lambda: loader(batch_size=0), "batch_size must be between 1 and 1,000,000, not 0"),
        (lambda: loader(workers=-1), "workers must be at least 0, not -1"),
        (lambda: next(loader(train=False).epoch(0)), r"use batches\(\)"),
        (lambda: next(loader(train=True).batches()), r"use epoch\(\)"),
        (lambda: loader(train=False).inputs([]), "no indices"),
        (lambda: loader(train=False).inputs([11]), "index 11 is not in 0..10"),
    ]:
        with pytest.raises(UserError, match=message):
            action()


@pytest.mark.slow
def test_workers_leave_no_file_open_for_each_input_that_is_kept():
    many = pictures([(4, 4 + i % 2) for i in range(200)])
    made = loader(many, workers=2, cache_bytes=2**30)
    before = len(os.listdir("/dev/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 100, hard))
    try:
        same(made.epoch(0), slow_epoch(many, 0))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_cache_never_exceeds_its_budget():
    cache = Cache(5, 40, torch.device("cpu"))
    sizes = [8, 20, 30, 4, 8]  # five of the first would fit; those that came do not all
    for index, size in enumerate(sizes):
        cache.put(index, torch.zeros(size, dtype=torch.uint8))
    kept = [index for index in range(5) if index in cache]
    assert kept == [0, 1, 3, 4]
    assert sum(sizes[i] for i in kept) <= 40


def test_a_full_cache_of_one_shape_is_one_tensor():
    cache = Cache(3, 100, torch.device("cpu"))
    rows = torch.arange(12, dtype=torch.uint8).view(3, 4)
    for index in (2, 0, 1):
        cache.put(index, rows[index].clone())
    assert torch.equal(cache.get([1, 1, 2]), rows[[1, 1, 2]])


# --- exemplars ---


@pytest.mark.parametrize("examples", [EQUAL, MIXED], ids=["equal", "mixed"])
def test_what_is_loaded_is_the_same_from_the_cache_and_fresh(examples):
    ours, rows = loader(examples), [7, 2, 7]
    expected = [ImagePreparation(8).load_train(examples[row], "") for row in rows]
    for _ in range(2):
        found = ours.loaded(rows)
        assert all(map(torch.equal, found, expected)) and len(found) == 3
        list(ours.epoch(0))  # fills the cache
    Watched.loads.clear()
    ours.loaded(rows)
    assert all(where == "data[2]" or where == "data[7]" for where in Watched.loads) and ours.loaded([]) == []


def test_prepared_inputs_are_augmented_by_the_generator_or_not_at_all():
    ours, rows = loader(MIXED), [3, 0, 8]
    kept = ours.loaded(rows)
    seen = [ours.prepared(kept, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])
    expected = ImagePreparation(8).augment_batch(kept, torch.device("cpu"), torch.Generator().manual_seed(1))
    assert torch.equal(seen[0], expected)
    plain = ImagePreparation(8, augment=False)
    whole = plain.augment_batch(kept, torch.device("cpu"), torch.Generator())
    assert torch.equal(ours.prepared(kept), whole) and not torch.equal(whole, seen[0])
    fixed = loader(MIXED, preparation=plain)
    assert torch.equal(fixed.prepared(kept, torch.Generator().manual_seed(1)), whole)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_A_GPU)])
@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("examples", SETS)
def test_several_batches_are_augmented_at_once_whatever_is_cached(examples, cache, device, monkeypatch):
    """The last batch is smaller, and in a part only some rows of each are loaded."""
    monkeypatch.setattr(Loader, "at_once", 2)
    for part in (slice, lambda rows: slice(1, rows)):
        fresh, kept = (loader(SETS[examples], device=device, cache_bytes=b) for b in (0, cache))
        list(kept.epoch(0))
        first, again = list(fresh.epoch(1, part)), list(kept.epoch(1, part))
        whole = [inputs[part(len(inputs))] for inputs, _, _ in slow_epoch(SETS[examples], 1)]
        for (inputs, targets, rows), other, alone in zip(first, again, whole, strict=True):
            assert torch.equal(inputs, other[0]) and torch.equal(targets, other[1]) and torch.equal(rows, other[2])
            torch.testing.assert_close(inputs.cpu(), alone)


def test_several_batches_are_augmented_at_once_on_a_gpu_alone():
    assert loader().at_once == 1
    on_a_gpu = loader()
    on_a_gpu.device = torch.device("cuda")
    assert on_a_gpu.at_once == 64  # batches of four
