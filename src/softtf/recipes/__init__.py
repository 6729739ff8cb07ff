"""Recipes: functions that return a complete run, by name."""

from softtf.recipes.methods import METHODS, method_named
from softtf.recipes.recipes import RECIPES, recipe_named

__all__ = ["METHODS", "RECIPES", "method_named", "recipe_named"]
