"""Judges from outside, and damage drawn by chance: the slow part of the tests (pytest marker `slow`)."""
