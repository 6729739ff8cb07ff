"""What is remembered of old tasks' examples: which ones (reservoir, herding, clusters), and as tensors to save."""

from softtf.memory.central import most_central
from softtf.memory.exemplars import OnDevice, pack, unpack
from softtf.memory.herding import herd
from softtf.memory.reservoir import Reservoir

__all__ = ["OnDevice", "Reservoir", "herd", "most_central", "pack", "unpack"]
