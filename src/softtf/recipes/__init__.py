"""Methods and recipes by name.

`methods` and `presets` are plain data and load no torch; `recipes` makes complete runs of them.
"""

from softtf.recipes.methods import known_methods
from softtf.recipes.presets import RECIPES

__all__ = ["RECIPES", "known_methods"]
