"""Exemplars of old tasks: how they are chosen (reservoir, herding, clusters), and their form as saved tensors."""

from softtf.memory.central import most_central
from softtf.memory.exemplars import OnDevice, concatenate, concatenated_forms, separate
from softtf.memory.herding import herd
from softtf.memory.reservoir import Reservoir

__all__ = ["OnDevice", "Reservoir", "concatenate", "concatenated_forms", "herd", "most_central", "separate"]
