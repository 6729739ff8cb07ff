import io
import math
import resource
from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from softtf.errors import UserError
from softtf.streams import ImagePreparation
from softtf.streams.crops import TRIES, Boxes, centre_boxes, draw, narrowed, random_boxes, sample
from softtf.streams.decode import decode
from softtf.streams.photos import LARGE, CropView
from softtf.streams.preparation import Ready
from support.slow import each

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


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=5), st.integers(0, 99), st.booleans())
def test_narrowed_images_give_the_same_inputs(sides, seed, random):
    images = [noise(*s, seed=i) for i, s in enumerate(sides)]
    heights, widths = torch.tensor(sides).T
    boxes = random_boxes(draw(len(sides), seeded(seed)), heights, widths, (0.05, 1.0), True)
    boxes = boxes if random else centre_boxes(heights, widths, 9, 8)
    parts, inner = narrowed(images, boxes)
    assert all(part.shape[1] <= image.shape[1] for part, image in zip(parts, images, strict=True))
    for i, (image, part) in enumerate(zip(images, parts, strict=True)):
        ours, whole = (
            sample(x[None], Boxes(**{f.name: getattr(b, f.name)[i : i + 1] for f in fields(Boxes)}), 8)
            for x, b in ((part, inner), (image, boxes))
        )
        torch.testing.assert_close(ours, whole, atol=1e-5, rtol=0)


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
    boxes = random_boxes(draw(len(sides), seeded(seed)), heights, widths, (low, 1.0), True)
    numbers = torch.rand(len(sides), 2 * TRIES + 3, generator=seeded(seed), dtype=torch.float64)
    for i, (height, width) in enumerate(sides):
        got = tuple(int(v[i]) for v in (boxes.top, boxes.left, boxes.height, boxes.width))
        assert got == slow_box(height, width, (low, 1.0), numbers[i].tolist())
        assert bool(boxes.flip[i]) == bool(numbers[i, -1] < 0.5)


def test_boxes_are_distributed_as_torchvisions():
    n = 4000
    boxes = random_boxes(draw(n, seeded()), torch.full((n,), 60), torch.full((n,), 90), (0.05, 1.0), True)
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


# --- photos: crops of the original ---


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, kind, **options)
    return buffer.getvalue()


def reference(pixels, drawn, size, scale=(0.05, 1.0)):
    """torchvision's crop of a PIL picture, whose box the slow loop finds; float32 [3, size, size] in 0..255."""
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    top, left, height, width = slow_box(*pixels.shape[1:], scale, drawn.tolist())
    crop = tv.resized_crop(picture, top, left, height, width, [size, size], antialias=True)
    crop = tv.horizontal_flip(crop) if drawn[-1] < 0.5 else crop
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1).float()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 40), st.integers(0, 99))
def test_a_photos_crop_is_torchvisions_of_the_original(height, width, size, seed):
    image, drawn = noise(height, width), draw(1, seeded(seed))
    assume(max(height, width) <= 100 * min(height, width))  # others are refused at decoding
    preparation = ImagePreparation(size)
    got = []
    for room in (0, image.nbytes):  # cropped at loading, or kept and cropped in each epoch
        loaded = preparation.load_drawn(image, "here", drawn[0], room)
        got.append(preparation.augment_drawn([loaded], drawn, "cpu")[0] * 255)
        if max(height, width) > size:
            assert isinstance(loaded, Ready) == (room == 0)
        else:
            assert torch.equal(loaded, image)
    assert torch.equal(*got)
    tolerance = 1e-4 if max(height, width) > size else 1.01  # PIL rounds to whole numbers twice
    torch.testing.assert_close(got[0], reference(image, drawn[0], size), atol=tolerance, rtol=0)


def test_a_small_crop_keeps_the_originals_detail():
    """Stripes of one pixel, which no copy reduced to the input's size has, are there in crops of a twentieth."""
    stripes = (torch.arange(256) % 2 * 255).to(torch.uint8).expand(3, 256, 256)
    preparation, drawn = ImagePreparation(64, crop_scale=(0.05, 0.05)), draw(20, seeded())
    crops = preparation.augment_drawn([stripes] * 20, drawn, "cpu")
    assert crops.std((1, 2, 3)).min() > 0.25
    reduced = preparation.load_train(stripes, "here")
    assert preparation.augment_drawn([reduced] * 20, drawn, "cpu").std((1, 2, 3)).max() < 0.05


def smooth(height, width):
    """A photograph-like picture: noise whose amplitude falls as its frequency rises."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    falling = 1 / np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    waves = np.random.default_rng(0).standard_normal((3, height, width))
    values = np.fft.ifft2(np.fft.fft2(waves) * falling).real
    return torch.from_numpy(np.clip(128 + 50 * values / values.std(), 0, 255).astype(np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@each("orientation", {"1": 1, "3": 3, "6": 6}, ("6",))
def test_a_large_photos_crop_is_close_to_that_of_the_whole(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(smooth(900, 1300), kind, exif=exif)
    whole = decode(file, "here")
    assert whole[0].numel() > LARGE
    preparation, drawn = ImagePreparation(64), draw(12, seeded())
    changes = []
    for numbers in drawn:
        loaded = preparation.load_drawn(file, "here", numbers, 2**40)  # room for it is not what decides
        assert isinstance(loaded, Ready)
        changes.append((loaded.values.float() - reference(whole, numbers, 64)).abs())
    assert max(change.mean() for change in changes) < (0.01 if kind == "PNG" else 1.5)
    assert max(change.max() for change in changes) < (0.01 if kind == "PNG" else 20)


@pytest.mark.slow
def test_of_a_large_jpeg_no_more_is_decoded_than_a_crop_needs():
    file = encoded(smooth(1024, 2048), "JPEG")
    sizes = {}
    for scale in ((0.05, 0.05), (1.0, 1.0)):
        preparation = ImagePreparation(32, crop_scale=scale)
        view = CropView(lambda h, w, p=preparation: p._photo_crops(draw(1, seeded()), [(h, w)])[0], 32)
        part = decode(file, "here", view)
        assert min(part.shape[1:]) >= 2 * 32
        sizes[scale] = part[0].numel()
    assert sizes[1.0, 1.0] < 2048 * 1024 / 64 and sizes[0.05, 0.05] < 2048 * 1024 / 64


def test_a_picture_given_as_such_is_left_as_it_was():
    picture = Image.open(io.BytesIO(encoded(smooth(900, 1300), "JPEG")))
    ImagePreparation(32).load_drawn(picture, "here", draw(1, seeded())[0], 0)
    assert picture.size == (1300, 900)


@pytest.mark.parametrize("sides", [(100, 1), (20_000, 200), (99, 9_900)])
def test_extreme_shapes_take_no_more_than_others(sides):
    """Nothing made of them, tensor or picture, raises the most memory that the process ever took by gigabytes."""
    images = [noise(*sides), noise(*sides[::-1]), noise(300, 400)]
    preparation = ImagePreparation(64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    drawn = draw(3, seeded())
    loaded = [preparation.load_drawn(x, "here", n, 2**30) for x, n in zip(images, drawn, strict=True)]
    shapes = [preparation.augment_drawn(loaded, drawn, "cpu").shape]
    kept = [preparation.load_train(image, "here") for image in images]
    for augment in (True, False):
        shapes.append(ImagePreparation(64, augment=augment).augment_batch(kept, "cpu", seeded()).shape)
    shapes.append(preparation.batch([preparation.load_test(image, "here") for image in images], "cpu").shape)
    assert set(shapes) == {(3, 3, 64, 64)}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KB


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
