"""What is remembered of old tasks' examples: which ones (reservoir, herding), and as tensors to save."""

from softtf.memory.exemplars import pack, unpack
from softtf.memory.herding import herd
from softtf.memory.reservoir import Reservoir

__all__ = ["Reservoir", "herd", "pack", "unpack"]
