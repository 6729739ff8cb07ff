"""Several views of one image: the usual crop, the whole image, and a closer crop of its centre."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from softtf.files.tensor_form import TensorForm
from softtf.streams.decode import decode
from softtf.streams.images import ImagePreparation

MOST_VIEWS = 3
NEARER = 1.5  # the short side of the closer view before its centre crop, in sides of the input


@dataclass(frozen=True)
class ImageViews:
    """A preparation that gives several views of each image; `views[i]` resizes and crops view i.

    Nothing is random, and training images are prepared like test images.
    """

    views: tuple[ImagePreparation, ...]
    augment: bool = field(default=False, init=False)

    @classmethod
    def of(cls, usual: ImagePreparation, count: int) -> "ImageViews":
        """Return the first `count` of: the usual view, the whole image, the closer view of its centre."""
        size = usual.size
        resized = (usual.resize, size, round(NEARER * size))[:count]
        return cls(tuple(replace(usual, resize=resize) for resize in resized))

    @property
    def fingerprint(self) -> str:
        """A string that differs between preparations that may give different inputs."""
        return f"views-1:{self.views[0].size}:{','.join(str(view.resize) for view in self.views)}"

    @property
    def loaded_form(self) -> TensorForm:
        """The form of an image's views, uint8 [views, 3, size, size]."""
        size = self.views[0].size
        return TensorForm((len(self.views), 3, size, size), (torch.uint8,))

    def load_train(self, raw: Any, where: str) -> Tensor:
        """Return the same as `load_test`."""
        return self.load_test(raw, where)

    def load_test(self, raw: Any, where: str) -> Tensor:
        """Return uint8 [views, 3, size, size]; errors name `where`."""
        image = decode(raw, where)
        return torch.stack([view.centre(image) for view in self.views])

    def augment_batch(
        self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str, generator: torch.Generator
    ) -> Tensor:
        """Return the same as `batch`."""
        return self.batch(loaded, device)

    def batch(self, loaded: Sequence[Tensor] | Tensor, device: torch.device | str) -> Tensor:
        """Return inputs: float32 [b, views, 3, size, size] in [0, 1] on `device`."""
        return self.views[0].batch(loaded, device)
