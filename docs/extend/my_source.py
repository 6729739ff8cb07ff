"""A source: images of one bright row; which row is the class."""

import numpy as np

from softtf.streams import Examples, source


@source("rows")
def rows():
    return images(20, seed=0), images(5, seed=1)


def images(per_class, seed):
    labels = np.repeat(np.arange(8), per_class)
    pixels = np.random.default_rng(seed).integers(0, 100, (len(labels), 8, 8), dtype=np.uint8)
    pixels[np.arange(len(labels)), labels] += 150
    return Examples(pixels, [f"row {label}" for label in labels], "rows")
