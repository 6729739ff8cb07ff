"""One batch on its way through the network: what does not depend on the task is computed once."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from softtf.backbones.base import Tokens
from softtf.network.adapted import AdaptedNetwork


class SharedPass:
    """Stem, query and trunk of one batch, each computed once; task inferences and answers read them here.

    Args:
        network: the adapted network.
        inputs: [batch, ...], prepared; or a function that loads them when they are first needed.
        query: [batch, dim], if it is known; then it is not computed.
        trunk: the trunk's tokens, if they are known; then they are not computed.
        given: the task of all samples, or of each [batch], where the test tells it.
    """

    def __init__(
        self,
        network: AdaptedNetwork,
        inputs: Tensor | Callable[[], Tensor],
        query: Tensor | None = None,
        trunk: Tokens | None = None,
        given: Tensor | int | None = None,
    ) -> None:
        self.network = network
        self.given = given
        self._inputs = inputs
        if query is not None:
            self.query = query
        if trunk is not None:
            self.trunk = trunk

    def knows(self, part: str) -> bool:
        """Return whether `query` or `trunk` is known without computing."""
        return part in vars(self)

    @cached_property
    def inputs(self) -> Tensor:
        """The prepared inputs [batch, ...]."""
        return self._inputs if isinstance(self._inputs, Tensor) else self._inputs()

    @cached_property
    def stem(self) -> Tokens:
        """Tokens below the first edit."""
        return self.network.stem(self.inputs)

    @cached_property
    def query(self) -> Tensor:
        """q(x) [batch, dim]: the [class] feature of the untouched backbone."""
        return self.network.query(self.stem)

    @property
    def trunk_query(self) -> Tensor | None:
        """The query, if the trunk or a learner that reads its tokens needs it."""
        return self.query if self.network.needs_query else None

    @cached_property
    def trunk(self) -> Tokens:
        """Tokens below the first block that depends on the task."""
        return self.network.trunk(self.stem, self.trunk_query)
