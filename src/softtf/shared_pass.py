"""What does not depend on the task, computed once per batch and only when something asks for it."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from softtf.backbones.base import Tokens
from softtf.network import AdaptedNetwork


class SharedPass:
    """Stem, query and trunk of one batch; task inferences and answers all read from here.

    Args:
        network: the adapted network.
        inputs: [batch, ...], prepared; or what loads them when they are first needed.
        query: [batch, dim], if it is known already; then it is not computed.
        trunk: the trunk's tokens, likewise.
    """

    def __init__(
        self,
        network: AdaptedNetwork,
        inputs: Tensor | Callable[[], Tensor],
        query: Tensor | None = None,
        trunk: Tokens | None = None,
    ) -> None:
        self.network = network
        self._inputs = inputs
        if query is not None:
            self.query = query
        if trunk is not None:
            self.trunk = trunk

    def knows(self, part: str) -> bool:
        """Say whether `query` or `trunk` is there without computing."""
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

    @cached_property
    def trunk(self) -> Tokens:
        """Tokens below the first block that depends on the task."""
        return self.network.trunk(self.stem, self.query if self.network.needs_query else None)
