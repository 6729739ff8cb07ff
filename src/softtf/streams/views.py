"""Several views of one image: at the usual size, whole, and its middle from nearer."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from softtf.streams.decode import decode
from softtf.streams.images import ImagePreparation

MOST_VIEWS = 3
NEARER = 1.5  # the short side of the last view before its centre is cut out, in sides of the input


@dataclass(frozen=True)
class ImageViews:
    """A preparation that gives each image several times, `views[i]` being how view i is resized and cropped.

    Nothing is drawn at random, and training images are prepared as test images are.
    """

    views: tuple[ImagePreparation, ...]
    augment: bool = field(default=False, init=False)

    @classmethod
    def of(cls, usual: ImagePreparation, count: int) -> "ImageViews":
        """Return the first `count` of: the usual view, the whole image, its middle from nearer."""
        size = usual.size
        resized = (usual.resize, size, round(NEARER * size))[:count]
        return cls(tuple(replace(usual, resize=resize) for resize in resized))

    @property
    def fingerprint(self) -> str:
        """A string that differs between preparations that may give different inputs."""
        return f"views-1:{self.views[0].size}:{','.join(str(view.resize) for view in self.views)}"

    def load_train(self, raw: Any, where: str) -> Tensor:
        """Return what `load_test` does."""
        return self.load_test(raw, where)

    def load_test(self, raw: Any, where: str) -> Tensor:
        """Return uint8 [views, 3, size, size]; errors name `where`."""
        image = decode(raw, where)
        return torch.stack([view.centre(image) for view in self.views])

    def augment_batch(
        self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str, generator: torch.Generator
    ) -> Tensor:
        """Return what `batch` does."""
        return self.batch(loaded, device)

    def batch(self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str) -> Tensor:
        """Return inputs: float32 [b, views, 3, size, size] in [0, 1] on `device`."""
        return self.views[0].batch(loaded, device)
