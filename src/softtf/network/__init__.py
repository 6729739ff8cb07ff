"""The adapted network: a frozen backbone, its adaptations and one head per task."""

from softtf.network.adapted import AdaptedNetwork
from softtf.network.forward import SharedPass

__all__ = ["AdaptedNetwork", "SharedPass"]
