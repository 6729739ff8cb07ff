import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from softtf.errors import UserError
from softtf.streams import ImagePreparation
from softtf.streams.crops import TRIES, Boxes, random_boxes, sample

SIDES = st.integers(1, 40)


def noise(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def box(top, left, height, width, flip=False):
    whole = [torch.tensor([v]) for v in (top, left, height, width)]
    bounds = [torch.tensor([v]) for v in (top, top + height - 1, left, left + width - 1)]
    return Boxes(*whole, *bounds, torch.tensor([flip]))


@settings(max_examples=80, deadline=None)
@given(st.data(), SIDES, SIDES, st.integers(1, 30), st.booleans())
def test_sampling_equals_resized_crop(data, height, width, size, flip):
    h, w = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    top, left = data.draw(st.integers(0, height - h)), data.draw(st.integers(0, width - w))
    image = noise(height, width)
    expected = tv.resized_crop(image.float() / 255, top, left, h, w, [size, size], antialias=False)
    expected = tv.horizontal_flip(expected) if flip else expected
    got = sample(image[None], box(top, left, h, w, flip), size)[0]
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=0)  # interpolate computes positions in float32


def slow_box(height, width, scale, numbers):
    """torchvision's RandomResizedCrop.get_params, its random numbers given."""
    for attempt in range(TRIES):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * numbers[attempt])
        low, high = math.log(3 / 4), math.log(4 / 3)
        ratio = math.exp(low + (high - low) * numbers[TRIES + attempt])
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(numbers[-3] * (height - h + 1)), int(numbers[-2] * (width - w + 1)), h, w
    if width / height < 3 / 4:
        w, h = width, round(width / (3 / 4))
    elif width / height > 4 / 3:
        w, h = round(height * (4 / 3)), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=6), st.integers(0, 99), st.floats(0.02, 1))
def test_boxes_are_those_of_the_slow_loop(sides, seed, low):
    heights, widths = torch.tensor(sides).T
    boxes = random_boxes(heights, widths, (low, 1.0), True, seeded(seed))
    numbers = torch.rand(len(sides), 2 * TRIES + 3, generator=seeded(seed), dtype=torch.float64)
    for i, (height, width) in enumerate(sides):
        got = tuple(int(v[i]) for v in (boxes.top, boxes.left, boxes.height, boxes.width))
        assert got == slow_box(height, width, (low, 1.0), numbers[i].tolist())
        assert bool(boxes.flip[i]) == bool(numbers[i, -1] < 0.5)


def test_boxes_are_distributed_as_torchvisions():
    n = 4000
    boxes = random_boxes(torch.full((n,), 60), torch.full((n,), 90), (0.05, 1.0), True, seeded())
    ours = torch.stack([boxes.top, boxes.left, boxes.height, boxes.width]).double()
    torch.manual_seed(0)
    canvas = torch.zeros(3, 60, 90)
    transform = v2.RandomResizedCrop(8, scale=(0.05, 1.0))
    drawn = [transform.make_params([canvas]) for _ in range(n)]
    theirs = torch.tensor([[d["top"], d["left"], d["height"], d["width"]] for d in drawn]).double().T
    for statistic in (lambda x: x.mean(1), lambda x: x.std(1)):
        torch.testing.assert_close(statistic(ours), statistic(theirs), rtol=0.06, atol=0)
    assert abs(boxes.flip.double().mean() - 0.5) < 0.03


def test_augmentation_reads_only_the_images_own_canvas():
    """Images of one value each stay of that value, however small they are beside their neighbours."""
    sides = [(1, 1), (3, 40), (40, 2), (17, 17), (40, 40)]
    images = [torch.full((3, h, w), 255 - i, dtype=torch.uint8) for i, (h, w) in enumerate(sides)]
    for augment in (True, False):
        preparation = ImagePreparation(16, augment=augment)
        for seed in range(20):
            batch = preparation.augment_batch(images, "cpu", seeded(seed))
            expected = torch.tensor([(255 - i) / 255 for i in range(len(sides))])[:, None, None, None]
            torch.testing.assert_close(batch, expected.expand_as(batch), atol=1e-6, rtol=0)


def test_an_image_gets_the_same_crop_whatever_its_neighbours_and_as_list_or_tensor():
    preparation = ImagePreparation(16)
    first, second = noise(20, 30), noise(20, 30, 1)
    as_list = preparation.augment_batch([first, second], "cpu", seeded())
    assert torch.equal(as_list, preparation.augment_batch(torch.stack([first, second]), "cpu", seeded()))
    beside_larger = preparation.augment_batch([first, noise(64, 50)], "cpu", seeded())
    torch.testing.assert_close(beside_larger[0], as_list[0])
    assert as_list.shape == (2, 3, 16, 16)
    assert as_list.dtype == torch.float32
    assert 0 <= as_list.min() <= as_list.max() <= 1


def test_every_image_draws_equally_many_numbers():
    after = set()
    for preparation in (
        ImagePreparation(8),
        ImagePreparation(8, flip=False),
        ImagePreparation(8, crop_scale=(1, 1)),
    ):
        for sides in ((9, 9), (1, 40), (64, 3)):
            generator = seeded(5)
            preparation.augment_batch([noise(*sides), noise(9, 9)], "cpu", generator)
            after.add(float(torch.rand(1, generator=generator)))
    assert len(after) == 1


def test_flip_off_never_mirrors_and_on_mirrors_some():
    ramp = torch.arange(32, dtype=torch.uint8).expand(3, 32, 32)
    rising = {}
    for flip in (False, True):
        batch = ImagePreparation(8, flip=flip).augment_batch([ramp] * 64, "cpu", seeded())
        rising[flip] = batch[:, 0, 0, -1] > batch[:, 0, 0, 0]
    assert rising[False].all()
    assert 16 < int(rising[True].sum()) < 48


@pytest.mark.parametrize("sides", [(10, 10), (9, 14), (18, 5), (3, 4), (17, 16)])
def test_without_augmentation_resize_and_centre_crop(sides):
    preparation = ImagePreparation(14, resize=16, augment=False)
    image = noise(*sides)
    got = preparation.augment_batch([image, noise(12, 12)], "cpu", seeded())[0]
    height, width = (16 * side // min(sides) for side in sides)
    resized = F.interpolate(image[None].float() / 255, (height, width), mode="bilinear", align_corners=False)
    torch.testing.assert_close(got, tv.center_crop(resized, [14, 14])[0], atol=2e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, st.integers(1, 20), st.integers(0, 5))
def test_load_test_equals_torchvision(height, width, size, margin):
    image = noise(height, width)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    expected = tv.center_crop(
        tv.resize(picture, [size + margin], interpolation=v2.InterpolationMode.BICUBIC), [size, size]
    )
    got = ImagePreparation(size, resize=size + margin).load_test(image, "here")
    assert torch.equal(got, torch.from_numpy(np.array(expected)).permute(2, 0, 1))


def test_load_train_only_scales_down():
    preparation = ImagePreparation(14, resize=16)
    small = noise(16, 40)
    assert torch.equal(preparation.load_train(small, "here"), small)
    assert preparation.load_train(noise(32, 48), "here").shape == (3, 16, 24)
    grey = torch.full((3, 64, 64), 77, dtype=torch.uint8)
    assert torch.equal(preparation.load_train(grey, "here"), torch.full((3, 16, 16), 77, dtype=torch.uint8))


def test_batch_scales_to_the_unit_interval():
    images = [noise(8, 8, seed) for seed in range(3)]
    expected = torch.stack(images).float() / 255
    preparation = ImagePreparation(8)
    assert torch.equal(preparation.batch(images, "cpu"), expected)
    stacked = torch.stack(images)
    assert torch.equal(preparation.batch(stacked, "cpu"), expected)
    assert torch.equal(stacked, torch.stack(images))  # not scaled in place


def test_defaults_and_fingerprint():
    assert ImagePreparation(224).resize == 256
    assert ImagePreparation(64).resize == 73
    options = [{}, {"resize": 300}, {"crop_scale": (0.1, 1.0)}, {"flip": False}, {"augment": False}]
    assert len({ImagePreparation(224, **o).fingerprint for o in options} | {ImagePreparation(64).fingerprint}) == 6
    assert ImagePreparation(224).fingerprint == ImagePreparation(224, resize=256).fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "at least 1, not 0"),
        ({"size": 8, "resize": 7}, "at least the image size 8, not 7"),
        ({"size": 8, "crop_scale": (0.0, 1.0)}, "crop_scale"),
        ({"size": 8, "crop_scale": (0.5, 0.2)}, "crop_scale"),
        ({"size": 8, "crop_scale": (0.5, 1.2)}, "crop_scale"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ImagePreparation(**options)


def test_errors_name_the_place():
    with pytest.raises(UserError, match=r"^birds\[3\]"):
        ImagePreparation(8).load_train(b"", "birds[3]")
