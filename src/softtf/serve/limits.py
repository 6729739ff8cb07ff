"""What a service accepts at most, and how long it waits for a batch to fill."""

from dataclasses import dataclass
from typing import Annotated

from softtf.config.bounds import AtLeast, BatchSize, Between, Count, Positive
from softtf.config.tree import Settings
from softtf.files.plain_json import DEEPEST
from softtf.files.reading import LARGEST_IMAGE


@dataclass(frozen=True)
class Limits(Settings):
    """The limits of a service.

    Attributes:
        batch_size: the most inputs that run at once; answers do not depend on it.
        wait_ms: how many milliseconds a batch that is not full waits for more, from its first request on.
        max_body: the most MiB of a request's body.
        max_pixels: the most pixels of an image.
        max_request_pixels: the most pixels of all images of a request together.
        max_inputs: the most images or texts of a request.
        queue: the most requests that are read, wait or are answered at one time; further ones get status 429.
        timeout: the most seconds from a request's first byte to its answer.
    """

    batch_size: BatchSize = 64
    wait_ms: Annotated[float, Between(0, 10_000)] = 5.0
    max_body: Positive = 16.0
    max_pixels: Annotated[int, Between(1, LARGEST_IMAGE)] = 50_000_000
    max_request_pixels: Annotated[int, AtLeast(1)] = 200_000_000
    max_inputs: Count = 64
    queue: Annotated[int, AtLeast(1)] = 256
    timeout: Positive = 30.0

    @property
    def body_bytes(self) -> int:
        """The most bytes of a request's body."""
        return int(self.max_body * 2**20)

    @property
    def json_parts(self) -> int:
        """The most strings, brackets and commas of a JSON body: an input has two, and a mistake may have some more."""
        return 2 * self.max_inputs + 2 * DEEPEST
