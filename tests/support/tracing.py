"""How much work a piece of code asks of PyTorch: its operations, and how large the tensors are that they make."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

COPIES = ("aten._to_copy.default", "aten.clone.default", "aten.copy_.default")


class Traced(TorchDispatchMode):
    """Meanwhile, counts.

    operations: how many were done; largest: how many numbers the largest tensor had that one of them returned; copied:
    the same of those that copy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.largest = self.copied = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        self.operations += 1
        if isinstance(found, Tensor):
            self.largest = max(self.largest, found.numel())
            if str(function) in COPIES:
                self.copied = max(self.copied, found.numel())
        return found
