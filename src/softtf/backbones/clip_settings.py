"""The preparation of a CLIP's images, from its processor's settings; settings that softtf lacks are refused."""

from collections.abc import Mapping
from typing import Any

from softtf.errors import UserError

Three = tuple[float, float, float]
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # OpenAI's
BICUBIC = 3
DONE = {"do_resize": True, "do_center_crop": True, "do_rescale": True, "resample": BICUBIC}  # what softtf does


def image_settings(settings: Any, size: int, name: str) -> tuple[Three, Three, int]:
    """Return the mean, the standard deviation and the resized short side of test images.

    Args:
        settings: those of an image processor of transformers; a missing one is OpenAI's.
        size: the side of the model's images, in pixels.
        name: the backbone's name, for messages.

    Raises:
        UserError: a setting has a wrong value, or a value that softtf does not support.
    """
    if not isinstance(settings, Mapping):
        raise UserError(f"backbone {name!r}: the settings of its image processor must be an object with names")
    for key, done in DONE.items():
        if settings.get(key, done) != done:
            raise UserError(f"backbone {name!r}: its images need {key}={settings[key]!r}; softtf has {done!r} only")
    short = _side(settings.get("size", size), "size", name)
    if _side(settings.get("crop_size", size), "crop_size", name) != size or short < size:
        raise UserError(f"backbone {name!r}: its processor's size or crop_size does not fit images of {size} pixels")
    if not settings.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), short
    mean, std = (_three(settings.get(f"image_{n}", d), f"image_{n}", name) for n, d in DEFAULTS.items())
    if min(std) <= 0:
        raise UserError(f"backbone {name!r}: image_std must be three positive numbers, not {list(std)}")
    return mean, std, short


DEFAULTS = {"mean": CLIP_MEAN, "std": CLIP_STD}


def _side(value: Any, key: str, name: str) -> int:
    """Return a number of pixels: an integer, or an equal height and width."""
    if isinstance(value, Mapping):
        sides = [value[side] for side in ("shortest_edge", "height", "width") if value.get(side) is not None]
        value = sides[0] if sides and len(set(map(str, sides))) == 1 else dict(value)
    if type(value) is not int or value < 1:
        raise UserError(f"backbone {name!r}: {key} must be a number of pixels, not {value!r}")
    return value


def _three(value: Any, key: str, name: str) -> Three:
    numbers = list(value) if isinstance(value, list | tuple) else []
    if len(numbers) != 3 or not all(isinstance(n, int | float) for n in numbers):
        raise UserError(f"backbone {name!r}: {key} must be three numbers, not {value!r}")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])
